"""Text input: words, numbers, references."""

import json

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxfs.codecs.formats import decode
from jaxfs.codecs.tokenizer import split
from jaxfs.errors import Invalid
from jaxfs.types.avals import BY_SHORT, DTYPES, DType, parse_aval
from jaxfs.types.buffers import Reference, TypedBuffer
from jaxfs.types.signature import Param
from tests.codecs.values import decode_buffers


def read(text: str | bytes, *types: str) -> list[TypedBuffer]:
    params = [Param(name, parse_aval(t)) for name, t in zip("xyz", types, strict=False)]
    return decode_buffers("json", text.encode() if isinstance(text, str) else text, params)


def values(text: str | bytes, *types: str) -> list[object]:
    return [buffer.array().tolist() for buffer in read(text, *types)]


def refusal(text: str | bytes, *types: str) -> str:
    with pytest.raises(Invalid) as error:
        read(text, *types)
    return error.value.reason


words = st.recursive(
    st.sampled_from([b"1", b"-2.5", b"nan", b"arrays/w", b'"a ] b"', b'"\\""']),
    lambda inner: st.lists(inner, max_size=3).map(lambda items: b"[ " + b",\n".join(items) + b" ]"),
    max_leaves=6,
)


@given(st.lists(words, max_size=5), st.sampled_from([b" ", b"\n", b"\t \r\n"]))
def test_whitespace_separates_words_outside_brackets_and_strings(
    drawn: list[bytes], gap: bytes
) -> None:
    assert split(memoryview(gap.join(drawn)), 9) == drawn
    assert split(memoryview(gap + gap.join(drawn) + gap), 9) == drawn


def test_each_word_is_an_argument() -> None:
    assert values("[1, 2] 3\n[[4],\n [5]]\n", "f32[2]", "i8[]", "u8[2,1]") == [
        [1, 2],
        3,
        [[4], [5]],
    ]


@pytest.mark.parametrize("row", DTYPES, ids=lambda row: row.short)
def test_a_number_takes_the_type_of_its_parameter(row: DType) -> None:
    text = "[true, false]" if row.short == "bool" else "[1, 2]"
    if row.short == "i2":
        text = "[1, -2]"
    [found] = read(text, f"{row.short}[2]")
    assert found.array().dtype == row.numpy
    assert found.array().astype(complex).tolist() == json.loads(text)


def test_floats_are_rounded_to_nearest() -> None:
    assert values("0.1 0.1 16777217", "f32[]", "bf16[]", "f32[]") == [
        float(np.float32(0.1)),
        0.10009765625,
        16777216,
    ]


@pytest.mark.parametrize("word", ["nan", "NaN", "-nan", "[nan]", "[NaN]"])
def test_nan_has_its_usual_spellings(word: str) -> None:
    assert np.isnan(read(word, "f32[1]" if "[" in word else "f32[]")[0].array()).all()


@pytest.mark.parametrize("word", ["inf", "Infinity", "+inf", "INF"])
def test_infinity_has_its_usual_spellings(word: str) -> None:
    assert values(f"{word} [-inf, {word}]", "f32[]", "f16[2]") == [float("inf"), [-np.inf, np.inf]]


@pytest.mark.parametrize("word", ["1+2j", '"1+2j"', "[1, 2]", "[1.0,2]"])
def test_a_complex_number_is_a_pair_or_a_string(word: str) -> None:
    assert values(word, "c64[]") == [1 + 2j]
    assert values(f"[{word}, {word}]", "c128[2]") == [[1 + 2j, 1 + 2j]]


def test_real_numbers_are_complex_numbers() -> None:
    assert values("[1, -2.5]", "c64[2]") == [[1, -2.5]]
    assert values("3", "c64[]") == [3]


@pytest.mark.parametrize("path", ["arrays/w", "results/7", "results/7.0", "results/job-1.loss"])
def test_references_are_handed_on(path: str) -> None:
    params = [Param("x", parse_aval("f32[9]")), Param("y", parse_aval("f32[]"))]
    assert decode("json", f"{path} 1".encode(), params)[0] == Reference(path)


@pytest.mark.parametrize("word", ["arrays/", "arrays/../x", "results/.x", "programs/x"])
def test_what_is_no_reference_is_refused(word: str) -> None:
    assert refusal(word, "f32[9]") == (
        f"input 0 x: expected f32[9], got {word}, which is no JSON value"
    )


def test_plain_numbers_are_the_elements_of_a_single_vector() -> None:
    assert values("1 2\n3\n", "f32[3]") == [[1, 2, 3]]
    assert values("true false", "bool[2]") == [[True, False]]


@pytest.mark.parametrize(
    ("text", "types", "reason"),
    [
        ("1", ["f32[16]"], "input 0 x: expected f32[16], got the scalar 1"),
        ("1", ["f32[1]"], "input 0 x: expected f32[1], got the scalar 1"),
        ("1 2", ["f32[3]"], "input 0 x: expected f32[3], got a list of shape [2]"),
        ("1,2 3", ["f32[3]"], "expected 1 input (x f32[3]), got 2"),
        ("1 2", ["f32[2,1]"], "expected 1 input (x f32[2,1]), got 2"),
        ("1", ["f32[]", "i8[]"], "expected 2 inputs (x f32[], y i8[]), got 1"),
        ("1", [], "expected no inputs, got 1"),
        ("", ["f32[0]"], "expected 1 input (x f32[0]), got 0"),
        ("[1,2]", ["f32[]"], "input 0 x: expected f32[], got a list of shape [2]"),
        ("[[1],[2,3]]", ["f32[2,1]"], "input 0 x: expected f32[2,1], got a ragged list"),
        ("[1,[2]]", ["f32[2]"], "input 0 x: expected f32[2], got a ragged list"),
        ("1.5", ["i32[]"], "input 0 x: expected i32[], got 1.5"),
        ("[1,1.0]", ["i32[2]"], "input 0 x: expected i32[2], got 1.0"),
        ("true", ["i32[]"], "input 0 x: expected i32[], got true"),
        ("1", ["bool[]"], "input 0 x: expected bool[], got 1"),
        (
            "null",
            ["f32[]"],
            'input 0 x: expected f32[], got null; NaN is written NaN or "NaN"',
        ),
        ('"1"', ["f32[]"], 'input 0 x: expected f32[], got "1"'),
        ("300", ["u8[]"], "input 0 x: expected u8[], got 300, which is out of range"),
        ("[0,-1]", ["u64[2]"], "input 0 x: expected u64[2], got -1, which is out of range"),
        ("[1,8]", ["i4[2]"], "input 0 x: expected i4[2], got 8, which is out of range"),
        ("1e39", ["f32[]"], "input 0 x: expected f32[], got 1e+39, which is out of range"),
        ("7", ["f4_e2m1fn[]"], "input 0 x: expected f4_e2m1fn[], got 7.0, which is out of range"),
        ("inf", ["f8_e4m3fn[]"], "input 0 x: expected f8_e4m3fn[], got inf, which is out of range"),
        (
            "-1",
            ["f8_e8m0fnu[]"],
            "input 0 x: expected f8_e8m0fnu[], got -1.0, which is out of range",
        ),
        ("1+2k", ["c64[]"], "input 0 x: expected c64[], got 1+2k, which is no JSON value"),
        ('"1+2k"', ["c64[]"], 'input 0 x: expected c64[], got "1+2k", which is no complex number'),
        ("[1,2,3]", ["c64[]"], "input 0 x: expected c64[], got a list of shape [3]"),
        (
            "{}",
            ["f32[]"],
            "input 0 x: expected f32[], got {}; it looks like a JSON object: "
            "write a value for each input, in their order",
        ),
        ("1 [1,", ["f32[]", "f32[2]"], "word 1: b'[1,'... is not closed before the data ends"),
        (b"\xff", ["f32[]"], "input 0 x: expected f32[], got b'\\xff', which is not UTF-8 text"),
    ],
)
def test_a_mismatch_names_the_parameter_and_both_types(
    text: str | bytes, types: list[str], reason: str
) -> None:
    assert refusal(text, *types) == reason


def test_deep_nesting_is_refused() -> None:
    assert "nested deeper than 64" in refusal("[" * 100_000, "f32[]")


def test_empty_arrays_are_empty_lists() -> None:
    assert [b.aval.shape for b in read("[] [[],[]]", "f32[0,3]", "f32[2,0]")] == [(0, 3), (2, 0)]


def test_the_limits_of_integers_are_exact() -> None:
    for short in ("i64", "u64", "i8", "u4", "i2"):
        limits = ml_dtypes.iinfo(BY_SHORT[short].numpy)
        text = f"[{limits.min}, {limits.max}]"
        assert values(text, f"{short}[2]") == [[limits.min, limits.max]]
        for beyond in (limits.min - 1, limits.max + 1):
            assert "out of range" in refusal(str(beyond), f"{short}[]")


@pytest.mark.parametrize("place", [1, 3, 6, 7])
def test_whitespace_may_be_as_long_as_it_likes(place: int) -> None:
    text = "[1, 2]\n"
    spaced = text[:place] + " " * (1 << 18) + text[place:]
    [found] = decode_buffers("json", spaced.encode(), [Param("x", parse_aval("i32[2]"))])
    assert np.frombuffer(found.data, np.int32).tolist() == [1, 2]
