"""Data says its types where the program does not."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from jaxfs.codecs import formats
from jaxfs.codecs.infer import infer
from jaxfs.errors import Invalid

X = np.arange(6, dtype=np.float32).reshape(2, 3)
N = np.array(7, np.int64)


def texts(form: str, data: bytes, *names: str) -> list[str]:
    return [f"{one.name} {one.aval}".strip() for one in infer(form, memoryview(data), names)]


def npy(*arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    for array in arrays:
        np.save(out, array)
    return out.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def test_a_stream_of_npy_files_tells_each_type() -> None:
    assert texts("npy", npy(X, N)) == ["f32[2,3]", "i64[]"]


def test_named_arrays_come_in_the_order_of_the_parameters() -> None:
    assert texts("npz", npz(y=N, x=X), "x", "y") == ["x f32[2,3]", "y i64[]"]
    assert texts("safetensors", save({"y": N, "x": X}), "x", "y") == ["x f32[2,3]", "y i64[]"]


def test_arrays_without_names_keep_their_places() -> None:
    data = io.BytesIO()
    np.savez(data, *[np.zeros(n) for n in range(12)])
    found = infer("npz", memoryview(data.getvalue()), ())
    assert [one.aval.shape for one in found] == [(n,) for n in range(12)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"1 2.5 true", ["i32[]", "f32[]", "bool[]"]),
        (b"[1, 2.0] [[1],[2]]", ["f32[2]", "i32[2,1]"]),
        (b"[nan, inf] 4294967296", ["f32[2]", "i64[]"]),
        (b"[]", ["f32[0]"]),
    ],
)
def test_text_has_the_types_that_jax_gives_python_numbers(text: bytes, expected: list[str]) -> None:
    assert texts("json", text) == expected


@pytest.mark.parametrize(
    ("form", "data", "words"),
    [
        ("raw", b"1234", "raw does not say its types"),
        ("json", b"[[1],[2,3]]", "ragged"),
        ("json", b'["a"]', "not made of numbers"),
        ("json", b"[1, true]", "not made of numbers"),
        ("npy", npy(X)[:40], "truncated"),
        ("safetensors", b"12345", "truncated"),
        ("npz", b"PK\x03\x04", "zip|archive|npz"),
    ],
)
def test_what_does_not_say_its_types_is_refused(form: str, data: bytes, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        infer(form, memoryview(data), ())


@given(st.lists(st.lists(st.integers(0, 3), max_size=3), max_size=3))
def test_what_was_inferred_decodes(shapes: list[list[int]]) -> None:
    data = memoryview(npy(*[np.zeros(shape, np.float32) for shape in shapes]))
    found = infer("npy", data, ())
    decoded = formats.decode("npy", data, found)
    assert [list(one.aval.shape) for one in decoded] == shapes  # type: ignore[union-attr]  # no references in .npy
