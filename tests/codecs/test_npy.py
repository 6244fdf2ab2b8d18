import io
from typing import Literal

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import DTypeLike

from jaxfs.codecs.formats import encode
from jaxfs.codecs.npy import header, read_header
from jaxfs.errors import Invalid
from jaxfs.types.avals import BY_NUMPY, BY_SHORT, DTYPES, Aval, DType
from jaxfs.types.buffers import TypedBuffer
from jaxfs.types.signature import Param
from tests.codecs.values import avals, buffers, decode_buffers, shapes

Order = Literal["C", "F"]
NATIVE = [row for row in DTYPES if row.is_native]


def saved(array: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asanyarray(array), version=version)
    return file.getvalue()


@given(buffers(of=avals(tuple(row.short for row in NATIVE))))
def test_native_types_are_written_byte_for_byte_as_numpy_does(buffer: TypedBuffer) -> None:
    written = encode("npy", [Param("x", buffer.aval)], [buffer])
    assert bytes(written) == saved(buffer.array())


@given(buffers())
def test_numpy_loads_every_type_extension_types_as_void(buffer: TypedBuffer) -> None:
    loaded = np.load(io.BytesIO(bytes(encode("npy", [Param("x", buffer.aval)], [buffer]))))
    assert loaded.shape == buffer.aval.shape
    assert loaded.dtype.itemsize == buffer.aval.row.itemsize
    assert loaded.view(buffer.aval.row.numpy).tobytes() == bytes(buffer.data)


@given(avals())
def test_headers_keep_the_data_aligned(aval: Aval) -> None:
    assert len(header(aval)) % 64 == 0


@given(st.sampled_from(DTYPES), shapes, st.sampled_from("CF"), st.data())
def test_what_numpy_saves_is_read_in_any_order(
    row: DType, shape: tuple[int, ...], order: Order, data: st.DataObject
) -> None:
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(row.numpy)
    array = np.asarray(array, order=order)
    [found] = decode_buffers("npy", saved(array), [Param("x", Aval(row.short, shape))])
    assert bytes(found.data) == array.tobytes(order="C")


@given(
    st.sampled_from([row for row in NATIVE if row.itemsize > 1]),
    shapes,
    st.sampled_from("CF"),
)
def test_big_endian_arrays_are_converted(row: DType, shape: tuple[int, ...], order: Order) -> None:
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(row.numpy)
    big = np.asarray(array.astype(row.numpy.newbyteorder(">")), order=order)
    [found] = decode_buffers("npy", saved(big), [Param("x", Aval(row.short, shape))])
    assert bytes(found.data) == array.tobytes()


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_the_format_is_read(version: tuple[int, int]) -> None:
    [found] = decode_buffers("npy", saved(np.arange(3), version), [Param("x", Aval("i64", (3,)))])
    assert found.array().tolist() == [0, 1, 2]


def test_a_bf16_array_is_accepted_as_numpy_saves_it() -> None:
    array = np.array([1, 2.5], ml_dtypes.bfloat16)
    [found] = decode_buffers("npy", saved(array), [Param("w", Aval("bf16", (2,)))])
    assert found.array().tolist() == [1, 2.5]


def test_void_data_is_not_taken_for_a_native_type() -> None:
    array = np.array([1, 2.5], ml_dtypes.bfloat16)
    with pytest.raises(Invalid, match=r"input 0 w: expected f16\[2\], got V2\[2\]"):
        decode_buffers("npy", saved(array), [Param("w", Aval("f16", (2,)))])


def test_a_vector_of_one_is_no_scalar_and_a_scalar_no_vector() -> None:
    with pytest.raises(Invalid, match=r"input 0 x: expected f32\[\], got f32\[1\]"):
        decode_buffers("npy", saved(np.zeros(1, "f4")), [Param("x", Aval("f32"))])
    with pytest.raises(Invalid, match=r"input 0 x: expected f32\[1\], got f32\[\]"):
        decode_buffers("npy", saved(np.zeros((), "f4")), [Param("x", Aval("f32", (1,)))])


def test_a_type_jaxfs_does_not_have_is_named_as_numpy_names_it() -> None:
    with pytest.raises(Invalid, match=r"input 0 x: expected f32\[1\], got U3\[1\]"):
        decode_buffers("npy", saved(np.array(["abc"])), [Param("x", Aval("f32", (1,)))])


@pytest.mark.parametrize("dtype", [[("a", "f4")], object])
def test_structures_and_objects_are_refused(dtype: DTypeLike) -> None:
    with pytest.raises(Invalid, match="input 0 x: "):
        decode_buffers("npy", saved(np.zeros(1, dtype)), [Param("x", Aval("f32", (1,)))])


def test_truncated_data_is_reported_with_both_numbers() -> None:
    with pytest.raises(Invalid, match=r"input 0 x: expected f32\[4\], got 9 of its 16 bytes"):
        decode_buffers("npy", saved(np.zeros(4, "f4"))[:-7], [Param("x", Aval("f32", (4,)))])


def test_trailing_bytes_are_refused() -> None:
    with pytest.raises(Invalid, match=r"got trailing bytes after them \(2 bytes\)"):
        decode_buffers("npy", saved(np.zeros(4, "f4")) + b"\n\n", [Param("x", Aval("f32", (4,)))])


def test_a_bool_is_0_or_1() -> None:
    with pytest.raises(Invalid, match=r"input 0 b: expected bool\[2\], got the byte 7"):
        decode_buffers(
            "npy", saved(np.array([1, 7], "u1").view("?")), [Param("b", Aval("bool", (2,)))]
        )


@given(hnp.arrays(st.sampled_from([row.numpy for row in NATIVE]), shapes))
def test_header_reads_what_numpy_wrote(array: np.ndarray) -> None:
    found = read_header(memoryview(saved(array)))
    assert found is not None
    assert (str(found), found.nbytes) == (
        str(Aval(BY_NUMPY[array.dtype].short, array.shape)),
        len(saved(array)) - array.nbytes,
    )


HOSTILE = [
    "{'descr': __import__('os').system('true'), 'fortran_order': False, 'shape': ()}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1e9,)}",
    "{'descr': '<f4', 'fortran_order': 0, 'shape': ()}",
    "{'descr': '<f4', 'fortran_order': False}",
    "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': ()}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (), 'x': 1}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': ()} + 1",
    "{'descr': " + "(" * 2000,
    "-" * 9000 + "1",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "9" * 5000 + ",)}",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_headers_are_refused(text: str) -> None:
    data = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()
    with pytest.raises(Invalid, match=r"input 0 x: a \.npy header that describes no plain array"):
        decode_buffers("npy", data + bytes(16), [Param("x", Aval("f32"))])


def test_a_huge_header_is_refused_before_it_is_there() -> None:
    data = b"\x93NUMPY\x02\x00" + (1 << 31).to_bytes(4, "little")
    with pytest.raises(Invalid, match="2147483648 bytes; at most 10000 are read"):
        decode_buffers("npy", data, [Param("x", Aval("f32"))])


def test_every_dtype_survives_a_file_of_its_own() -> None:
    for row in DTYPES:
        param = Param("x", Aval(row.short, (2,)))
        one = np.ones(2, "i1").astype(BY_SHORT[row.short].numpy)
        [found] = decode_buffers("npy", saved(one), [param])
        assert found.array().tobytes() == one.tobytes()
