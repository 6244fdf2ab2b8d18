"""A number in text is the number that is written, or refused: in every form that text has."""

from __future__ import annotations

import numpy as np
import pytest

from jaxfs.codecs.infer import ExpectedParams, infer
from jaxfs.codecs.long_lists import LONG_BYTES
from jaxfs.errors import Invalid
from jaxfs.options import duration
from jaxfs.types.avals import BY_SHORT, Aval, parse_aval
from jaxfs.types.partial_avals import PartialAval
from jaxfs.types.signature import Param
from tests.codecs.values import decode_buffers

BEYOND_F64 = ["1e400", "-1e999", "1E+309", "1.5e0400", "1" + "0" * 309, "9" * 5000, "2e308"]
LONG = LONG_BYTES // 4  # elements of two characters or more
REAL = ("f64", "f32", "f16", "bf16", "f8_e4m3fn", "f8_e5m2", "f4_e2m1fn")
# a form has a text for one number among others, and the shape that the others give it
FORMS = {
    "a scalar": ("{}", ()),
    "an element": ("[1, {}, 2]", (3,)),
    "a matrix": ("[[1, {}], [2, 3]]", (2, 2)),
    "plain words": ("1 {} 2", (3,)),
    "a long list": ("[" + "1, " * LONG + "{}]", (LONG + 1,)),
    "long plain words": ("1 " * 2 * LONG + "{}", (2 * LONG + 1,)),
    "with a word beside it": ("[nan, {}]", (2,)),
}


@pytest.fixture(params=FORMS, ids=lambda name: name.replace(" ", "-"))
def form(request: pytest.FixtureRequest) -> tuple[str, tuple[int, ...]]:
    return FORMS[request.param]


def value(text: str, short: str, shape: tuple[int, ...]) -> np.ndarray:
    [found] = decode_buffers("json", text.encode(), [Param("x", Aval(short, shape))])
    return found.array()


def refusal(text: str, short: str, shape: tuple[int, ...]) -> str:
    with pytest.raises(Invalid) as error:
        value(text, short, shape)
    return error.value.reason


@pytest.mark.parametrize("number", BEYOND_F64, ids=lambda text: text[:8])
def test_a_number_beyond_every_type_is_out_of_range(
    form: tuple[str, tuple[int, ...]], number: str
) -> None:
    text, shape = form
    shown = number if len(number) <= 40 else f"{number[:40]}..."
    for short in (*REAL, "c64", "c128", "i64", "u8"):
        if short[0] in "iu" and "nan" in text:
            continue
        reason = refusal(text.format(number), short, shape)
        assert reason == (
            f"input 0 x: expected {Aval(short, shape)}, got {shown}, which is out of range"
        )


@pytest.mark.parametrize("number", BEYOND_F64, ids=lambda text: text[:8])
def test_programs_without_types_refuse_it_too(
    form: tuple[str, tuple[int, ...]], number: str
) -> None:
    data = memoryview(form[0].format(number).encode())
    known = ExpectedParams(["x"], [PartialAval("f32", ("?",) * len(form[1]))])
    many = len(form[0]) > LONG_BYTES and "[" not in form[0]  # words are arrays if no type is known
    for expected in (known,) if many else (ExpectedParams(), known):
        with pytest.raises(Invalid, match="out of range"):
            decode_buffers("json", data, infer("json", data, expected))


@pytest.mark.parametrize("short", REAL)
def test_a_finite_number_never_becomes_infinite(
    form: tuple[str, tuple[int, ...]], short: str
) -> None:
    number = {"f64": "1e309", "f4_e2m1fn": "7"}.get(short, "1e39")
    text, shape = form
    if short == "f4_e2m1fn" and "nan" in text:
        return
    assert "out of range" in refusal(text.format(number), short, shape)
    assert "out of range" in refusal(text.format(f"-{number}"), short, shape)


@pytest.mark.parametrize("word", ["Infinity", "inf", '"Infinity"', '"-Infinity"', '"NaN"', "NaN"])
def test_only_words_mean_infinity_and_nan(form: tuple[str, tuple[int, ...]], word: str) -> None:
    text, shape = form
    if '"' in word and "[" not in text and shape:
        return  # plain words are numbers without quotes
    for short in ("f64", "f32", "bf16", "c64"):
        found = value(text.format(word), short, shape).reshape(-1)
        expected = np.array(float(word.strip('"')), BY_SHORT[short].numpy)
        assert sum(one.tobytes() == expected.tobytes() for one in found) or np.isnan(expected)
        assert np.isnan(found).any() == np.isnan(expected) or "nan" in text
    assert "expected i32" in refusal(text.format(word), "i32", shape)


@pytest.mark.parametrize("short", [*REAL, "c64"])
def test_minus_zero_keeps_its_sign(form: tuple[str, tuple[int, ...]], short: str) -> None:
    text, shape = form
    if short == "f4_e2m1fn" and "nan" in text:
        return
    for number in ("-0", "-0.0", "-0e5", "-1e-999"):
        found = value(text.format(number), short, shape).reshape(-1)
        zeros = found[found == 0]
        assert len(zeros) == 1
        assert np.signbit(np.real(zeros).astype(np.float32)).all()


def test_minus_zero_is_the_integer_zero(form: tuple[str, tuple[int, ...]]) -> None:
    text, shape = form
    if "nan" not in text:
        for short in ("i32", "u8", "i4"):
            assert 0 in value(text.format("-0"), short, shape)
    assert str(infer("json", memoryview(b"-0 [1, -0]"))[1].aval) == "i32[2]"


@pytest.mark.parametrize(
    ("number", "short", "expected"),
    [
        ("1e-400", "f64", 0.0),
        ("5e-324", "f64", 5e-324),
        ("1e-45", "f32", float(np.float32(1e-45))),
        ("1e-46", "f32", 0.0),
        ("1.7976931348623157e308", "f64", 1.7976931348623157e308),
        ("1" + "0" * 308, "f64", 1e308),
        ("0.0" + "0" * 400 + "1e402", "f64", 1.0),
        ("3.4028235e38", "f32", float(np.finfo(np.float32).max)),
        ("18446744073709551615", "u64", 18446744073709551615),
        ("-9223372036854775808", "i64", -9223372036854775808),
    ],
    ids=lambda text: str(text)[:12],
)
def test_numbers_at_the_limits_are_rounded_to_the_nearest(
    form: tuple[str, tuple[int, ...]], number: str, short: str, expected: float
) -> None:
    text, shape = form
    if short[0] == "f" or "nan" not in text:
        assert expected in value(text.format(number), short, shape).reshape(-1).tolist()


@pytest.mark.parametrize("word", ['"1e400+2j"', "1-1e999j", '"1e400"', "[1e400, 0]", "[0, -1e999]"])
def test_parts_of_complex_numbers_have_the_same_range(word: str) -> None:
    for short in ("c64", "c128"):
        assert "out of range" in refusal(word, short, ())
        assert "out of range" in refusal(f"[{word}, {word}]", short, (2,))


@pytest.mark.parametrize("word", ["0x1p3", "0x10", "1_000", '"1_000"', "1,000", "١", "1.5f", "+1"])
def test_spellings_of_other_languages_are_refused(word: str) -> None:
    for short in ("f32", "i32", "c64"):
        refusal(word, short, ())


@pytest.mark.parametrize("digits", [19, 400, 5000])
def test_sizes_of_types_have_a_range_too(digits: int) -> None:
    with pytest.raises(Invalid, match="a size beyond"):
        parse_aval(f"f32[2,{'9' * digits}]")


@pytest.mark.parametrize("text", ["9" * 400, "9" * 5000, "1e5", "-1", "nan", "inf", "1e400s"])
def test_options_have_no_endless_times(text: str) -> None:
    with pytest.raises(ValueError, match="a time"):
        duration(text)
