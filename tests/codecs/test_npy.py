import io
from typing import Literal

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxfs.codecs.formats import encode
from jaxfs.codecs.infer import infer
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
    with pytest.raises(Invalid, match=r"input 0 w: expected f16\[2\], got bytes without a"):
        decode_buffers("npy", saved(array), [Param("w", Aval("f16", (2,)))])


def test_a_vector_of_one_is_no_scalar_and_a_scalar_no_vector() -> None:
    with pytest.raises(Invalid, match=r"input 0 x: expected f32\[\], got f32\[1\]"):
        decode_buffers("npy", saved(np.zeros(1, "f4")), [Param("x", Aval("f32"))])
    with pytest.raises(Invalid, match=r"input 0 x: expected f32\[1\], got f32\[\]"):
        decode_buffers("npy", saved(np.zeros((), "f4")), [Param("x", Aval("f32", (1,)))])


def one(text: str, data: bytes = np.arange(6, dtype="<f4").tobytes(), version: int = 1) -> bytes:
    """A file with this header."""
    length = len(text).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + length + text.encode() + data


SPELLINGS = {
    "of Python 2": "{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 3L), }        \n",
    "of Python 2, without spaces": "{'descr':'<f4','fortran_order':False,'shape':(2L,3L)}",
    "with unicode of Python 2": "{u'descr': u'<f4', u'fortran_order': False, u'shape': (2, 3)}",
    "with double quotes": '{"descr": "<f4", "fortran_order": False, "shape": (2, 3)}',
    "in another order": "{'shape': (2, 3,), 'fortran_order': False, 'descr': '<f4'}\n",
    "over lines": "{\n 'shape': (2,\n 3),\n 'fortran_order': False,\n 'descr': '<f4'\n}\n",
    "with a type's name": "{'descr': 'float32', 'fortran_order': False, 'shape': (2, 3)}",
    "with a type's letter": "{'descr': '<f', 'fortran_order': False, 'shape': (2, 3)}",
    "in the machine's order": "{'descr': '=f4', 'fortran_order': False, 'shape': (2, 3)}",
    "without an order": "{'descr': 'f4', 'fortran_order': False, 'shape': (2, 3)}",
}


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("kind", SPELLINGS)
def test_a_header_is_read_in_every_spelling_that_numpy_reads(kind: str, version: int) -> None:
    data = one(SPELLINGS[kind], version=version)
    if "2" not in kind:  # numpy reads these with warnings, or not in version 3
        assert np.load(io.BytesIO(data)).shape == (2, 3)
    [found] = decode_buffers("npy", data, [Param("x", Aval("f32", (2, 3)))])
    assert found.array().tolist() == [[0, 1, 2], [3, 4, 5]]
    assert infer("npy", memoryview(data))[0].aval == Aval("f32", (2, 3))


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((2, 3), np.longdouble), "numpy's long double .* float64 or float32"),
        (np.zeros((2, 3), np.clongdouble), "numpy's complex long double .* complex128"),
        (np.zeros((2, 3), object), r"Python objects \(O\) of shape \[2,3\].* numbers"),
        (np.full((2, 3), "abc"), r"text \(U3\).* numbers"),
        (np.full((2, 3), b"abc"), r"bytes of text \(S3\).* numbers"),
        (np.zeros((2, 3), "M8[ns]"), r"points in time \(M8\).*np.int64"),
        (np.zeros((2, 3), "m8[D]"), r"lengths of time \(m8\).*np.int64"),
        (np.zeros((2, 3), "V7"), r"bytes without a type \(V7\).* \.safetensors"),
        (np.zeros((2, 3), [("a", "f4"), ("b", "i4")]), r"records, .* as an array, x\['a'\]"),
    ],
    ids=lambda value: str(value.dtype) if isinstance(value, np.ndarray) else "",
)
def test_a_type_that_jax_does_not_have_is_named_with_what_to_do(
    array: np.ndarray, words: str
) -> None:
    data = saved(array)
    for short in ("f16", "f32", "i64", "bf16"):  # no type is named by numpy's bytes
        with pytest.raises(Invalid, match=f"input 0 x: .*{words}") as error:
            decode_buffers("npy", data, [Param("x", Aval(short, (2, 3)))])
        assert "got f16" not in error.value.reason
    with pytest.raises(Invalid, match=words):
        infer("npy", memoryview(data))
    file = io.BytesIO()
    np.savez(file, x=array)
    with pytest.raises(Invalid, match=words):
        decode_buffers("npz", file.getvalue(), [Param("x", Aval("f32", (2, 3)))])


def test_a_wrong_shape_of_a_type_without_a_name_in_numpy_is_only_that() -> None:
    data = saved(np.zeros(2, ml_dtypes.bfloat16))
    with pytest.raises(Invalid, match=r"expected bf16\[3\], got bf16\[2\]$"):
        decode_buffers("npy", data, [Param("x", Aval("bf16", (3,)))])


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
