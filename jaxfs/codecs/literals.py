"""Converts one JSON value (RFC 8259) to one typed buffer.

A JSON number takes the type of its parameter if it has a value there: floating-point types round,
as everywhere, but an integer type takes no 1.5 and no 300 for u8, and no finite number becomes
infinite.  A complex number is a [re, im] pair, a real number, or a string such as "1+2j".
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np

from jaxfs.codecs.diagnostics import mismatch
from jaxfs.types.avals import BY_SHORT, DType
from jaxfs.types.buffers import Parameter, TypedBuffer, flat_bytes

Array = np.ndarray[Any, Any]
Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[^\s\[\]{},:"]+')
_SPELLINGS = {
    **dict.fromkeys(("nan", "+nan", "-nan"), "NaN"),
    **dict.fromkeys(("inf", "+inf", "infinity", "+infinity"), "Infinity"),
    **dict.fromkeys(("-inf", "-infinity"), "-Infinity"),
    "true": "true",
    "false": "false",
}
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
        value = parse_value(text)
    except (ValueError, RecursionError) as error:
        raise mismatch(index, param, f"{_shortened(text)}, which is no JSON value") from error
    try:
        array = convert(value, param.aval.shape, param.aval.row)
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

    >>> parse_value("[1, NaN, -inf, 1+2j]")
    [1, nan, -inf, '1+2j']

    Raises:
        ValueError: It is no JSON.
        RecursionError: Its lists nest too deep for Python's reader.
    """
    try:
        value: Json = json.loads(text)
    except ValueError:
        value = json.loads(_TOKEN.sub(_json_token, text))
    return value


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
        raise Mismatch(_shown(next(leaf for leaf in leaves if type(leaf) not in types)))
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
    return f"a list of shape {shape}" if shape else f"the scalar {_shown(value)}"


def _shown(value: Json) -> str:
    return _shortened(json.dumps(value))


def _shortened(text: str) -> str:
    """Returns at most 40 characters of ``text``, safe to print."""
    return text[:40].encode("ascii", "backslashreplace").decode() + ("..." * (len(text) > 40))


def _bools(value: Json, shape: tuple[int, ...], row: DType) -> Array:
    return np.array(_elements(value, shape, {bool}), row.numpy)


def _integers(value: Json, shape: tuple[int, ...], row: DType) -> Array:
    elements = _elements(value, shape, {int})
    limits = ml_dtypes.iinfo(row.numpy)
    for extreme in (min(elements, default=0), max(elements, default=0)):
        if not limits.min <= extreme <= limits.max:
            raise Mismatch(f"{_shown(extreme)}, which is out of range")
    wide = np.uint64 if row.short[0] == "u" else np.int64
    return np.array(elements, wide).astype(row.numpy)


def _floats(value: Json, shape: tuple[int, ...], row: DType) -> Array:
    return _rounded(_elements(value, shape, {int, float}), row)


def _rounded(elements: list[Any], row: DType) -> Array:
    """Returns the nearest values of type ``row``.

    Raises:
        Mismatch: An element has none, because it is out of range.
    """
    try:
        exact = np.array(elements, np.float64)
    except OverflowError as error:
        raise Mismatch("an integer beyond the range of f64") from error
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
        pairs = _elements(value, (*shape, 2), {int, float})
    else:
        raise Mismatch(_shape_text(value))
    return _rounded(pairs, BY_SHORT[_COMPONENT[row.short]]).view(row.numpy)


def _parts(scalar: str | float) -> tuple[float, float]:
    """Returns the real and the imaginary part of a literal.

    Raises:
        Mismatch: It is no number, or an integer too large for a float.
    """
    try:
        number = complex(scalar)
    except (ValueError, OverflowError) as error:
        raise Mismatch(f"{_shown(scalar)}, which is no complex number") from error
    return number.real, number.imag


_CONVERT: dict[str, Callable[[Json, tuple[int, ...], DType], Array]] = {
    "bool": _bools,
    "integer": _integers,
    "float": _floats,
    "complex": _complexes,
}
