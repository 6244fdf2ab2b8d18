"""What every format of the table keeps."""

import contextlib
import subprocess
import sys
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxfs.codecs import safetensors
from jaxfs.codecs.formats import FORMATS, decode, detect, encode, encoded_size
from jaxfs.errors import Invalid
from jaxfs.types.avals import Aval
from jaxfs.types.signature import Param
from tests.codecs.values import Values, decode_buffers, same, values

BINARY = [row.name for row in FORMATS if row.is_input and row.is_sized]
NAMEABLE = {"safetensors": tuple(safetensors.DTYPES.values())}


def any_values(name: str) -> st.SearchStrategy[Values]:
    return values(dtypes=NAMEABLE[name]) if name in NAMEABLE else values()


@pytest.mark.parametrize("name", BINARY)
@given(data=st.data())
def test_what_is_written_reads_back_the_same(name: str, data: st.DataObject) -> None:
    params, buffers = data.draw(any_values(name))
    found = decode_buffers(name, bytes(encode(name, params, buffers)), params)
    assert len(found) == len(buffers)
    assert all(map(same, found, buffers))


@pytest.mark.parametrize("name", [row.name for row in FORMATS if row.is_sized])
@given(data=st.data())
def test_the_size_known_beforehand_is_exact(name: str, data: st.DataObject) -> None:
    params, buffers = data.draw(any_values(name))
    assert encoded_size(name, params) == encode(name, params, buffers).nbytes


@pytest.mark.parametrize("name", BINARY)
@given(data=st.data())
def test_inputs_are_slices_of_the_data(name: str, data: st.DataObject) -> None:
    params, buffers = data.draw(any_values(name))
    written = bytes(encode(name, params, buffers))
    for found in decode_buffers(name, written, params):
        assert found.offset is not None
        assert written[found.offset : found.offset + len(found.data)] == bytes(found.data)


@pytest.mark.parametrize("name", BINARY)
@given(data=st.data())
def test_outputs_are_not_copied(name: str, data: st.DataObject) -> None:
    params, buffers = data.draw(any_values(name))
    pieces = encode(name, params, buffers).pieces
    assert all(any(buffer.data is piece for piece in pieces) for buffer in buffers if buffer.data)


@pytest.mark.parametrize("name", [row.name for row in FORMATS if row.is_input])
@given(data=st.data())
def test_damaged_data_is_invalid_and_nothing_worse(name: str, data: st.DataObject) -> None:
    params, buffers = data.draw(any_values(name))
    damaged = bytearray(bytes(encode(name, params, buffers)))
    for _ in range(data.draw(st.integers(0, 3)) if damaged else 0):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    damaged = damaged[: data.draw(st.integers(0, len(damaged)))]
    decodes_or_is_invalid(name, damaged, params)


@pytest.mark.parametrize("name", [row.name for row in FORMATS if row.is_input])
@given(noise=st.binary(max_size=200), drawn=values())
def test_noise_is_invalid_and_nothing_worse(name: str, noise: bytes, drawn: Values) -> None:
    decodes_or_is_invalid(name, noise, drawn[0])


def decodes_or_is_invalid(name: str, data: bytes | bytearray, params: Sequence[Param]) -> None:
    with contextlib.suppress(Invalid):
        found = decode(name, bytes(data), params)
        assert [getattr(f, "aval", p.aval) for f, p in zip(found, params, strict=True)] == [
            p.aval for p in params
        ]


@pytest.mark.parametrize("name", BINARY)
def test_a_missing_and_a_surplus_input_are_reported_with_all_types(name: str) -> None:
    x, y = Param("x", Aval("f32", (2,))), Param("y", Aval("i8", ()))
    one = bytes(encode(name, [x], decode_buffers("raw", bytes(8), [x])))
    two = bytes(encode(name, [x, y], decode_buffers("raw", bytes(9), [x, y])))
    with pytest.raises(Invalid, match=r"expected 2 inputs \(x f32\[2\], y i8\[\]\), got"):
        decode(name, one, [x, y])
    with pytest.raises(Invalid, match=r"expected 1 input \(x f32\[2\]\), got"):
        decode(name, two, [x])


@pytest.mark.parametrize("name", ["npy", "npz", "safetensors"])
@pytest.mark.parametrize(
    "found", [Aval("i32", (16,)), Aval("f32", (17,)), Aval("f32", (16, 1)), Aval("f32", ())]
)
def test_another_type_is_refused_with_both_types_named(name: str, found: Aval) -> None:
    written = encode(
        name, [Param("x", found)], decode_buffers("raw", bytes(found.nbytes), [Param("x", found)])
    )
    with pytest.raises(Invalid) as error:
        decode(name, bytes(written), [Param("x", Aval("f32", (16,)))])
    assert error.value.reason == f"input 0 x: expected f32[16], got {found}"


@pytest.mark.parametrize("name", [row.name for row in FORMATS if not row.is_input])
def test_a_format_for_output_only_refuses_inputs(name: str) -> None:
    with pytest.raises(Invalid, match="write them as one of npy, npz, safetensors, raw, json"):
        decode(name, b"1", [])


def test_an_unknown_format_names_those_there_are() -> None:
    with pytest.raises(Invalid, match="there is no format 'gif'; there are npy, npz"):
        encode("gif", [], [])


@pytest.mark.parametrize(
    ("beginning", "name"),
    [(b"\x93NUMPY\x01", "npy"), (b"PK\x03\x04", "npz"), (b"[1, 2]", "json"), (b"\n", "json")],
)
def test_one_byte_decides_the_format(beginning: bytes, name: str) -> None:
    assert {detect(beginning[:n]) for n in range(1, len(beginning) + 1)} == {name}


def test_no_bytes_are_text() -> None:
    assert detect(b"") == "json"


def test_the_front_process_gets_neither_jax_nor_an_image_library_from_the_codecs() -> None:
    unwanted = {"jax", "jaxlib", "PIL", "pandas", "safetensors", "zipfile", "torch"}
    code = "import sys, jaxfs.codecs.framing; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert not unwanted & set(modules)
