"""Converts one JSON value (RFC 8259) to one typed buffer.

A JSON number takes the type of its parameter if it has a value there: floating-point types round,
as everywhere, but an integer type takes no 1.5 and no 300 for u8, and no finite number becomes
infinite, 1e400 neither.  -0 is negative.  What JSON has no number for is a string or the bare word:
"NaN", "Infinity", "-Infinity".  A complex number is a [re, im] pair, a real number, or a string
such as "1+2j".
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np

from jaxfs.codecs.diagnostics import mismatch
from jaxfs.types.avals import BY_SHORT, DType
from jaxfs.types.buffers import Parameter, TypedBuffer, flat_bytes

Array = np.ndarray[Any, Any]
Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[^\s\[\]{},:"]+')
_LARGE_EXPONENTS = tuple(  # with a letter each, which is searched for quickly
    (letter, re.compile(rf"{letter}\+?\d{{3}}")) for letter in "eE"
)
_MINUS_ZERO = re.compile(r"-0(?![\d.eE])")
_MANY_DIGITS = 128  # f64 ends at 309, which cover a whole block of so many
_SPELLINGS = {
    **dict.fromkeys(("nan", "+nan", "-nan"), "NaN"),
    **dict.fromkeys(("inf", "+inf", "infinity", "+infinity"), "Infinity"),
    **dict.fromkeys(("-inf", "-infinity"), "-Infinity"),
    "true": "true",
    "false": "false",
}
_NEGATIVE_ZERO = "-0"
# the elements that are words: JSON has no number for them, or Python's reader loses the sign
_WORDS = {
    "NaN": math.nan,
    "Infinity": math.inf,
    "-Infinity": -math.inf,
    _NEGATIVE_ZERO: -0.0,
}
_COMPLEX = re.compile(r"[0-9a-zA-Z+\-.() ]*")
_NUMERAL = re.compile(r"[\d.]+(?:e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_COMPONENT = {"c64": "f32", "c128": "f64"}
_F4_MAX = 6.0


def buffer_of(index: int, param: Parameter, text: str) -> TypedBuffer:
    """Returns the array that ``text`` is the JSON of.

    Args:
        index: The position of the input, from 0, for messages.
        param: Its parameter.
        text: JSON, or nan, inf and complex numbers as numpy and Python write them.

    Raises:
        Invalid: The text is no JSON, or the value does not fit the type of ``param``.
    """
    try:
        array = convert(parse_value(text), param.aval.shape, param.aval.row)
    except (ValueError, RecursionError) as error:
        raise mismatch(index, param, f"{_shortened(text)}, which is no JSON value") from error
    except Mismatch as error:
        raise mismatch(index, param, str(error)) from error
    return TypedBuffer(param.aval, flat_bytes(array))


def convert(value: Json, shape: tuple[int, ...], row: DType) -> Array:
    """Returns the array that a nested list is.

    Raises:
        Mismatch: It has another shape, or an element does not fit the type.
    """
    return _CONVERT[_kind(row)](value, shape, row)


class Mismatch(Exception):
    """A value that does not fit the type; the message describes the value."""


def parse_value(text: str) -> Json:
    """Returns the value of JSON, in which nan, inf and complex may be as numpy writes them.

    Words remain strings, so that an infinite float can only be a number that was too large.

    >>> parse_value("[1, NaN, -inf, 1+2j, -0]")
    [1, 'NaN', '-Infinity', '1+2j', '-0']

    Raises:
        ValueError: It is no JSON.
        RecursionError: Its lists nest too deep for Python's reader.
        Mismatch: A number is beyond the range of every type.
    """
    load = _load_exactly if _may_be_inexact(text) else _load
    try:
        return load(text)
    except ValueError:
        return load(_TOKEN.sub(_json_token, text))


def _may_be_inexact(text: str) -> bool:
    """Returns whether Python's reader may take a number for infinity, or lose the sign of -0.

    It takes a tenth of the time of reading the text, and more where all numbers have exponents.
    """
    return (
        any(letter in text and large.search(text) is not None for letter, large in _LARGE_EXPONENTS)
        or ("-0" in text and _MINUS_ZERO.search(text) is not None)
        or any(
            text[start : start + _MANY_DIGITS].isdecimal()
            for start in range(0, len(text) - _MANY_DIGITS + 1, _MANY_DIGITS)
        )
    )


def _load(text: str) -> Json:
    value: Json = json.loads(text, parse_constant=str)
    return value


def _load_exactly(text: str) -> Json:
    value: Json = json.loads(text, parse_constant=str, parse_float=_float, parse_int=_integer)
    return value


def _float(token: str) -> float:
    """Returns the nearest float.

    Raises:
        Mismatch: It would be infinite.
    """
    value = float(token)
    if math.isinf(value):
        raise Mismatch(f"{_shortened(token)}, which is out of range")
    return value


def _integer(token: str) -> int | str:
    """Returns the integer; -0 as a word, because Python's integers have no such value.

    Raises:
        Mismatch: It is beyond the range of f64, and so of every type.
    """
    _float(token)
    return token if token == _NEGATIVE_ZERO else int(token)


def _json_token(match: re.Match[str]) -> str:
    """Returns a token as JSON.

    A complex number becomes a string; nan and others get the spelling that JSON's reader takes.
    """
    token = match[0]
    if token.endswith(("j", "J")):
        return json.dumps(token)
    return _SPELLINGS.get(token.lower(), token)


def _kind(row: DType) -> str:
    if row.short == "bool":
        return "bool"
    return {"i": "integer", "u": "integer", "c": "complex"}.get(row.short[0], "float")


def _leaves(value: Json, shape: tuple[int, ...]) -> list[Any] | None:
    """Returns the elements of a nested list of exactly this shape; None if it has another."""
    level: list[Any] = [value]
    for length in shape:
        if not _all_lists(level) or not set(map(len, level)) <= {length}:
            return None
        level = list(itertools.chain.from_iterable(level))
    return None if list in set(map(type, level)) else level


def _all_lists(level: Iterable[object]) -> bool:
    return set(map(type, level)) <= {list}


def _elements(value: Json, shape: tuple[int, ...], types: set[type]) -> list[Any]:
    """Returns the elements.

    Raises:
        Mismatch: The shape or the type of an element differs.
    """
    leaves = _leaves(value, shape)
    if leaves is None:
        raise Mismatch(_shape_text(value))
    if not set(map(type, leaves)) <= types:
        wrong = next(leaf for leaf in leaves if type(leaf) not in types)
        hint = '; NaN is written NaN or "NaN"' if wrong is None else ""
        raise Mismatch(f"{shown(wrong)}{hint}")
    return leaves


def _shape_text(value: Json) -> str:
    """Describes the shape of ``value``, for messages."""
    shape: list[int] = []
    level: list[Any] = [value]
    while level and _all_lists(level):
        if len(set(map(len, level))) > 1:
            return "a ragged list"
        shape.append(len(level[0]))
        level = list(itertools.chain.from_iterable(level))
    if list in set(map(type, level)):
        return "a ragged list"
    return f"a list of shape {shape}" if shape else f"the scalar {shown(value)}"


def shown(value: Json) -> str:
    """Returns the start of a value as JSON, in which words have no quotes."""
    if isinstance(value, str) and value in _WORDS:
        return value
    return _shortened(json.dumps(value))


def _shortened(text: str) -> str:
    """Returns at most 40 characters of ``text``, safe to print."""
    return text[:40].encode("ascii", "backslashreplace").decode() + ("..." * (len(text) > 40))


def _bools(value: Json, shape: tuple[int, ...], row: DType) -> Array:
    return np.array(_elements(value, shape, {bool}), row.numpy)


def _integers(value: Json, shape: tuple[int, ...], row: DType) -> Array:
    elements = _numbers(_elements(value, shape, {int, str}), {_NEGATIVE_ZERO: 0})
    limits = ml_dtypes.iinfo(row.numpy)
    for extreme in (min(elements, default=0), max(elements, default=0)):
        if not limits.min <= extreme <= limits.max:
            raise Mismatch(f"{shown(extreme)}, which is out of range")
    wide = np.uint64 if row.short[0] == "u" else np.int64
    return np.array(elements, wide).astype(row.numpy)


def _floats(value: Json, shape: tuple[int, ...], row: DType) -> Array:
    return _rounded(_numbers(_elements(value, shape, {int, float, str}), _WORDS), row)


def _numbers(elements: list[Any], words: Mapping[str, float]) -> list[Any]:
    """Returns elements with the numbers that words mean.

    Raises:
        Mismatch: A string is none of the words.
    """
    if str not in set(map(type, elements)):
        return elements
    names = [_word(element) if isinstance(element, str) else "" for element in elements]
    unknown = [name for name in names if name and name not in words]
    if unknown or "" in elements:
        raise Mismatch(shown(unknown[0] if unknown else ""))
    return [words[name] if name else one for name, one in zip(names, elements, strict=True)]


def _word(text: str) -> str:
    """Returns a string in the spelling of ``_WORDS``, if it means one of these."""
    return _SPELLINGS.get(text.lower(), text)


def number_type(element: Json) -> type:
    """Returns the Python type of the number that an element is, or else its own.

    >>> number_type(1), number_type("NaN"), number_type("-0"), number_type("a")
    (<class 'int'>, <class 'float'>, <class 'int'>, <class 'str'>)
    """
    if not isinstance(element, str) or _word(element) not in _WORDS:
        return type(element)
    return int if element == _NEGATIVE_ZERO else float


def _rounded(elements: list[Any], row: DType) -> Array:
    """Returns the nearest values of type ``row``.

    Raises:
        Mismatch: An element has none, because it is out of range.
    """
    exact = np.array(elements, np.float64)
    with np.errstate(all="ignore"):
        rounded: Array = exact.astype(row.numpy)
    lost = _lost(exact, rounded.astype(np.float64), row)
    if lost.any():
        raise Mismatch(f"{exact[lost][0]}, which is out of range")
    return rounded


def _lost(exact: Array, rounded: Array, row: DType) -> Array:
    """Returns where rounding changed whether a number is finite, infinite or nan."""
    changed = (np.isnan(exact) != np.isnan(rounded)) | (np.isinf(exact) != np.isinf(rounded))
    if row.short == "f4_e2m1fn":  # it has neither inf nor nan to overflow to
        changed |= np.abs(exact) > _F4_MAX
    return np.asarray(changed)


def _complexes(value: Json, shape: tuple[int, ...], row: DType) -> Array:
    if _leaves(value, shape) is not None:
        scalars = _elements(value, shape, {int, float, str})
        pairs = [part for scalar in scalars for part in _parts(scalar)]
    elif _leaves(value, (*shape, 2)) is not None:
        pairs = _numbers(_elements(value, (*shape, 2), {int, float, str}), _WORDS)
    else:
        raise Mismatch(_shape_text(value))
    return _rounded(pairs, BY_SHORT[_COMPONENT[row.short]]).view(row.numpy)


def _parts(scalar: str | float) -> tuple[float, float]:
    """Returns the real and the imaginary part of a literal.

    Raises:
        Mismatch: It is no number, or out of range.
    """
    is_number = not isinstance(scalar, str) or _COMPLEX.fullmatch(scalar) is not None
    try:
        number = complex(scalar) if is_number else None
    except ValueError:
        number = None
    if number is None:
        raise Mismatch(f"{shown(scalar)}, which is no complex number")
    if isinstance(scalar, str):
        for numeral in _NUMERAL.findall(scalar):
            _float(numeral)
    return number.real, number.imag


_CONVERT: dict[str, Callable[[Json, tuple[int, ...], DType], Array]] = {
    "bool": _bools,
    "integer": _integers,
    "float": _floats,
    "complex": _complexes,
}
