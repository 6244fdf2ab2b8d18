"""Outputs as text."""

import io
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxfs.codecs.formats import encode, encoded_size
from jaxfs.errors import Invalid
from jaxfs.types.avals import BY_SHORT, Aval
from jaxfs.types.buffers import TypedBuffer
from jaxfs.types.signature import Param
from tests.codecs.values import Values, avals, buffer_of, buffers, decode_buffers, same, values


def text_of(
    name: str, *arrays: tuple[np.ndarray, str], names: tuple[str, ...] = ("x", "y", "z")
) -> str:
    found = [buffer_of(array, short) for array, short in arrays]
    params = [Param(n, b.aval) for n, b in zip(names, found, strict=False)]
    return bytes(encode(name, params, found)).decode()


def reads_back(buffer: TypedBuffer, text: bytes) -> bool:
    params = [Param("x", buffer.aval)]
    [found] = decode_buffers("json", text, params)
    return np.array_equal(found.array(), buffer.array(), equal_nan=False) or same(
        canonical(found), canonical(buffer)
    )


def canonical(buffer: TypedBuffer) -> TypedBuffer:
    """The same with every nan alike."""
    array = buffer.array().astype(complex)
    parts = np.stack([array.real, array.imag])
    parts[np.isnan(parts)] = np.nan
    return TypedBuffer(Aval("f64", parts.shape), parts.tobytes())


@given(buffers())
def test_json_reads_back_as_the_same_values(buffer: TypedBuffer) -> None:
    assert reads_back(buffer, bytes(encode("json", [Param("x", buffer.aval)], [buffer])))


def test_json_of_several_outputs_is_an_object_by_name_or_a_list() -> None:
    arrays = [(np.array([1.5]), "f32"), (np.array(True), "bool")]
    assert json.loads(text_of("json", *arrays)) == {"x": [1.5], "y": True}
    assert json.loads(text_of("json", *arrays, names=("", "y"))) == [[1.5], True]
    assert json.loads(text_of("json", *arrays, names=("x", "x"))) == [[1.5], True]
    assert text_of("json") == "{}\n"


@pytest.mark.parametrize(
    ("value", "short", "text"),
    [
        ([np.nan, -np.inf, 0.0], "f32", '["NaN", "-Infinity", 0.0]'),
        ([np.inf], "bf16", '["Infinity"]'),
        ([complex("nan-infj")], "c64", '[["NaN", "-Infinity"]]'),
        (np.nan, "f64", '"NaN"'),
        ([1 + 2j], "c64", "[[1.0, 2.0]]"),
        (0.1, "bf16", "0.10009765625"),
        ([True, False], "bool", "[true, false]"),
        (9007199254740993, "i64", "9007199254740993"),
        ([-0.0, 5e-324], "f64", "[-0.0, 5e-324]"),
    ],
)
def test_json_is_a_document_that_every_parser_takes(value: object, short: str, text: str) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    for times in (1, 2000):  # a long one is made in pieces
        array = np.array(value)
        stacked = array if times == 1 else np.stack([array] * times)
        found = text_of("json", (stacked, short))
        expected = text if times == 1 else "[" + ", ".join([text] * times) + "]"
        assert found == f"{expected}\n"
        json.loads(found, parse_constant=refuse)
        [back] = decode_buffers("json", found.encode(), [Param("x", Aval(short, stacked.shape))])
        assert back.array().tobytes() == buffer_of(stacked, short).array().tobytes()


def test_json_refuses_an_empty_array_of_a_billion_rows() -> None:
    with pytest.raises(Invalid, match="1000000000 empty lists"):
        encoded_size("json", [Param("x", Aval("f32", (10**9, 0)))])


def test_txt_is_a_row_a_line_with_a_blank_line_between_matrices() -> None:
    array = np.arange(8).reshape(2, 2, 2)
    assert text_of("txt", (array, "i32")) == "0 1\n2 3\n\n4 5\n6 7\n"
    assert text_of("txt", (array[0], "i32")) == "0 1\n2 3\n"
    assert text_of("txt", (array[0, 0], "i32")) == "0 1\n"
    assert text_of("txt", (array[0, 0, 0], "i32")) == "0\n"
    assert text_of("txt", (array[:0], "i32")) == ""


def test_txt_of_several_outputs_names_each() -> None:
    arrays = [(np.array([1, 2]), "i32"), (np.array(0.5), "f32")]
    assert text_of("txt", *arrays) == "# 0 x i32[2]\n1 2\n# 1 y f32[]\n0.5\n"
    assert text_of("txt", *arrays, names=("", "")) == "# 0 i32[2]\n1 2\n# 1 f32[]\n0.5\n"


def test_txt_writes_the_fewest_digits() -> None:
    for short in ("f64", "f32", "f16", "bf16"):
        assert text_of("txt", (np.array(0.1), short)) == "0.1\n"
    assert text_of("txt", (np.array([1 - 2j, complex("nan+infj")]), "c64")) == "1.0-2.0j nan+infj\n"
    assert text_of("txt", (np.array([True, False]), "bool")) == "true false\n"


@pytest.mark.parametrize("name", ["txt", "csv"])
@given(buffer=buffers(of=avals().filter(lambda aval: aval.shape == ())))
def test_numerals_read_back_as_the_same_element(name: str, buffer: TypedBuffer) -> None:
    assert reads_back(buffer, bytes(encode(name, [Param("x", buffer.aval)], [buffer])))


@pytest.mark.parametrize("short", ["bf16", "f16", "f8_e4m3fn", "f8_e5m2", "f8_e8m0fnu"])
def test_every_value_of_a_narrow_type_is_written_so_that_it_reads_back(short: str) -> None:
    dtype = BY_SHORT[short].numpy
    array = np.arange(1 << 8 * dtype.itemsize).astype(f"u{dtype.itemsize}").view(dtype)
    words = text_of("txt", (array, short)).split()
    back = np.array(list(map(float, words))).astype(dtype)
    nan = np.array(list(map(math.isnan, array.tolist())))
    assert [word == "nan" for word in words] == nan.tolist()
    assert back[~nan].tobytes() == array[~nan].tobytes()


@given(buffers(of=st.builds(Aval, st.sampled_from(["f32", "f64", "i32"]), st.just((3, 2)))))
def test_numpy_reads_csv(buffer: TypedBuffer) -> None:
    text = bytes(encode("csv", [Param("x", buffer.aval)], [buffer])).decode()
    found = np.loadtxt(io.StringIO(text), delimiter=",", dtype=buffer.array().dtype, ndmin=2)
    assert np.array_equal(found, buffer.array(), equal_nan=buffer.aval.dtype[0] == "f")


def test_csv_is_for_one_output_of_rank_two_at_most() -> None:
    with pytest.raises(Invalid, match=r"f32\[1,1,1\] x has more"):
        encoded_size("csv", [Param("x", Aval("f32", (1, 1, 1)))])
    with pytest.raises(Invalid, match="holds one output, not 2"):
        encoded_size("csv", [Param("x", Aval("f32")), Param("y", Aval("f32"))])


@given(values())
def test_the_length_of_text_is_not_promised(drawn: Values) -> None:
    assert encoded_size("txt", drawn[0]) is None
