"""Data says its types where the program does not."""

from __future__ import annotations

import io

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from jaxfs.codecs.infer import ExpectedParams, infer
from jaxfs.errors import Invalid
from jaxfs.types.partial_avals import KnownAval, PartialAval
from tests.codecs.values import decode_buffers

X = np.arange(6, dtype=np.float32).reshape(2, 3)
N = np.array(7, np.int64)


def texts(format_name: str, data: bytes, *names: str) -> list[str]:
    found = infer(format_name, memoryview(data), ExpectedParams(names))
    return [f"{one.name} {one.aval}".strip() for one in found]


def shaped(text: str) -> KnownAval:
    dtype, _, sizes = text.rstrip("]").partition("[")
    return PartialAval(dtype, tuple(filter(None, sizes.split(",")))) if text else None


def npy(*arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    for array in arrays:
        np.save(out, array)
    return out.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.savez(out, allow_pickle=False, **arrays)
    return out.getvalue()


def test_a_stream_of_npy_files_has_each_type() -> None:
    assert texts("npy", npy(X, N)) == ["f32[2,3]", "i64[]"]


def test_named_arrays_come_in_the_order_of_the_parameters() -> None:
    assert texts("npz", npz(y=N, x=X), "x", "y") == ["x f32[2,3]", "y i64[]"]
    assert texts("safetensors", save({"y": N, "x": X}), "x", "y") == ["x f32[2,3]", "y i64[]"]


def test_arrays_without_names_keep_their_places() -> None:
    data = io.BytesIO()
    np.savez(data, *[np.zeros(n) for n in range(12)])
    found = infer("npz", memoryview(data.getvalue()))
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
    ("text", "known", "expected"),
    [
        (b"[1, 2] 3", ["f32[?]", "bf16[]"], ["x f32[2]", "y bf16[]"]),
        (b"1 2 3", ["f64[n]"], ["x f64[3]"]),
        (b"[[1, 2], [3, 4], [5, 6]]", ["c64[?]"], ["x c64[3]"]),
        (b'["1+2j", 3]', ["c64[?]"], ["x c64[2]"]),
        (b"[] 2", ["u8[?]", ""], ["x u8[0]", "i32[]"]),
        (b"[1] [2]", ["i8[?]"], ["x i8[1]", "i32[1]"]),
    ],
)
def test_text_has_the_types_that_the_program_knows(
    text: bytes, known: list[str], expected: list[str]
) -> None:
    wanted = ExpectedParams(["x", "y"][: len(known)], [shaped(word) for word in known])
    found = infer("json", memoryview(text), wanted)
    assert [f"{one.name} {one.aval}".strip() for one in found] == expected


def test_a_known_type_decides_what_numpy_has_no_name_for() -> None:
    narrow = np.ones((2, 3), ml_dtypes.bfloat16)
    wanted = ExpectedParams(["x", "y"], [shaped("bf16[?,3]"), shaped("i32[]")])
    for format_name, data in [
        ("npy", npy(narrow, N)),
        ("npz", npz(y=N, x=narrow)),
        ("npz", npz(arr_1=N, arr_0=narrow)),
    ]:
        found = infer(format_name, memoryview(data), wanted)
        assert [str(one.aval) for one in found] == ["bf16[2,3]", "i64[]"]  # as they are


@pytest.mark.parametrize(
    ("format_name", "data", "words"),
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
def test_data_without_types_is_refused(format_name: str, data: bytes, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        infer(format_name, memoryview(data))


@given(st.lists(st.lists(st.integers(0, 3), max_size=3), max_size=3))
def test_what_was_inferred_decodes(shapes: list[list[int]]) -> None:
    data = memoryview(npy(*[np.zeros(shape, np.float32) for shape in shapes]))
    found = infer("npy", data)
    decoded = decode_buffers("npy", data, found)
    assert [list(one.aval.shape) for one in decoded] == shapes
