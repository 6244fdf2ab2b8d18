"""Outputs as text: .json for programs, .txt for people, .csv for spreadsheets.

JSON (RFC 8259) has the exact value of every element, as a double if the type is a float, and
complex numbers as [re, im].  It has no number for NaN and infinities: they are the strings "NaN",
"Infinity" and "-Infinity", as in ProtoJSON.  .txt and .csv (RFC 4180, without a header and with LF)
have the shortest number that reads back as the same element.

The text is made some thousand elements at a time: numpy and Python's JSON writer let no other
thread run while they work.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from jaxfs.codecs.diagnostics import check_single
from jaxfs.codecs.pieces import checkpoint
from jaxfs.errors import Invalid, TooBig
from jaxfs.types.avals import DType
from jaxfs.types.buffers import Parameter, TypedBuffer

Array = np.ndarray[Any, Any]
_MAX_EMPTY_LISTS = 1 << 20  # a shape of [10000000000,0] has no elements and a list for each row
_MAX_DIGITS = 17
_NOT_FINITE = re.compile("NaN|-?Infinity")
PIECE_ELEMENTS = 1 << 9  # made into text at once: 0.6 ms
_JOINED_BYTES = 1 << 15  # yielded at once
MAX_TEXT_ELEMENTS = 1 << 26  # of a file: 64 MiB of bytes, 512 MiB of doubles


def check_json(params: Sequence[Parameter]) -> None:
    """Checks the arrays without elements, which are nested empty lists.

    Raises:
        Invalid: One would be millions of empty lists.
    """
    for param in params:
        lists = math.prod(itertools.takewhile(bool, param.aval.shape))
        if param.aval.size == 0 and lists > _MAX_EMPTY_LISTS:
            raise Invalid(f"{param.aval} {param.name} is {lists} empty lists as .json; take .npy")


def json_pieces(params: Sequence[Parameter], buffers: Sequence[TypedBuffer]) -> Iterator[bytes]:
    """Yields one document: the output; several as an object by name, or a list without names."""
    names = [p.name for p in params]
    labels, brackets = [""] * len(buffers), "[]"
    if len(buffers) == 1:
        brackets = ""
    elif all(names) and len(set(names)) == len(names):
        labels, brackets = [f"{json.dumps(name)}: " for name in names], "{}"
    return _joined(_document(labels, buffers, brackets))


def _document(
    labels: Sequence[str], buffers: Sequence[TypedBuffer], brackets: str
) -> Iterator[str]:
    yield brackets[:1]
    for number, (label, buffer) in enumerate(zip(labels, buffers, strict=True)):
        yield f"{', ' if number else ''}{label}"
        yield from _json(_components(buffer))
    yield f"{brackets[1:]}\n"


def _components(buffer: TypedBuffer) -> Array:
    """Returns an array of real numbers: a complex one as [re, im]."""
    array: Array = buffer.array()
    if not buffer.aval.dtype.startswith("c"):
        return array
    return array.reshape(*array.shape, 1).view(array.real.dtype)


def _json(array: Array) -> Iterator[str]:
    """Yields nested lists of Python's bools, ints and floats."""
    checkpoint()
    if array.size <= PIECE_ELEMENTS:
        yield _dumps(array)
        return
    row = array[0].size
    yield "["
    if row > PIECE_ELEMENTS:
        for index, part in enumerate(array):
            yield ", " if index else ""
            yield from _json(part)
    else:
        step = PIECE_ELEMENTS // row
        for start in range(0, len(array), step):
            checkpoint()
            yield ", " if start else ""
            yield _dumps(array[start : start + step])[1:-1]
    yield "]"


def _dumps(array: Array) -> str:
    """Returns some elements as JSON that every parser takes."""
    text = json.dumps(array.tolist())
    has_words = "N" in text or "I" in text
    return _NOT_FINITE.sub(r'"\g<0>"', text) if has_words else text


def _joined(texts: Iterable[str]) -> Iterator[bytes]:
    """Yields texts in pieces that are not too small: a rope of a million is slow."""
    some: list[str] = []
    nbytes = 0
    for text in texts:
        some.append(text)
        nbytes += len(text)
        if nbytes >= _JOINED_BYTES:
            yield "".join(some).encode()
            some, nbytes = [], 0
    yield "".join(some).encode()


def check_length(name: str, params: Sequence[Parameter]) -> None:
    """Checks that the text is not too long to be made.

    Raises:
        TooBig: It is.
    """
    count = sum(param.aval.size for param in params)
    if count > MAX_TEXT_ELEMENTS:
        raise TooBig(
            f"{count} elements as .{name}, which is made of at most {MAX_TEXT_ELEMENTS}; "
            "read .npy or .raw, or one array alone, as in .0.txt"
        )


def txt_pieces(params: Sequence[Parameter], buffers: Sequence[TypedBuffer]) -> Iterator[bytes]:
    """Yields a line for each row of the last axis, with blank lines between matrices.

    Each of several outputs has a heading ``# <index> <name> <type>``.
    """
    return _joined(_txt(params, buffers))


def _txt(params: Sequence[Parameter], buffers: Sequence[TypedBuffer]) -> Iterator[str]:
    for index, (param, buffer) in enumerate(zip(params, buffers, strict=True)):
        if len(buffers) > 1:
            yield " ".join(["#", str(index), *param.name.split(), str(buffer.aval)]) + "\n"
        shape = buffer.aval.shape
        yield from _lines(buffer, " ", shape[-2] if len(shape) > 2 else 0)


def check_csv(params: Sequence[Parameter]) -> None:
    """Checks that there is one output, of rank 0 to 2.

    Raises:
        Invalid: There are others, or its rank is higher.
    """
    param = check_single(params, ".csv")
    if len(param.aval.shape) > 2:
        raise Invalid(f".csv has rows and columns; {param.aval} {param.name} has more; take .txt")


def csv_pieces(_params: Sequence[Parameter], buffers: Sequence[TypedBuffer]) -> Iterator[bytes]:
    """Yields a line for each row of the last axis, with commas and no header."""
    return _joined(_lines(buffers[0], ","))


def _lines(buffer: TypedBuffer, separator: str, height: int = 0) -> Iterator[str]:
    """Yields the text of an array, a line for each row; nothing if it has no elements.

    Args:
        buffer: The array.
        separator: What is between the elements of a row.
        height: After so many rows there is a blank line; 0 for never.
    """
    flat = buffer.array().reshape(-1)
    width = buffer.aval.shape[-1] if buffer.aval.shape else 1
    literals = _literals(buffer.aval.row)
    step = max(PIECE_ELEMENTS // max(width, 1), 1) * width if width else 1  # whole rows
    for start in range(0, len(flat), step):
        if step <= PIECE_ELEMENTS:
            checkpoint()
            texts = literals(flat[start : start + step])
            for first in range(0, len(texts), width):
                yield _gap(start + first, width, height)
                yield separator.join(texts[first : first + width])
                yield "\n"
            continue
        yield _gap(start, width, height)
        for first in range(start, start + step, PIECE_ELEMENTS):
            checkpoint()
            yield separator if first > start else ""
            yield separator.join(literals(flat[first : min(first + PIECE_ELEMENTS, start + step)]))
        yield "\n"


def _gap(start: int, width: int, height: int) -> str:
    """Returns the blank line before the first row of each matrix but the first."""
    return "\n" if height and start and start % (width * height) == 0 else ""


def _literals(row: DType) -> Callable[[Array], list[str]]:
    """Returns what makes texts of elements: ``true``, ``-3``, ``0.1``, ``nan``, ``1+2j``."""
    if row.short == "bool":
        return lambda flat: ["true" if value else "false" for value in flat.tolist()]
    if row.short.startswith("c"):
        return lambda flat: [_complex(str(value.real), str(value.imag)) for value in flat]
    if row.short[0] in "iu":
        return lambda flat: list(map(str, flat.tolist()))
    return _ExtensionFloats(row) if not row.is_native else lambda flat: list(map(str, flat))


def _complex(real: str, imaginary: str) -> str:
    return f"{real}{'' if imaginary.startswith('-') else '+'}{imaginary}j"


class _ExtensionFloats:
    """Makes texts of elements of an ml_dtypes type; each value is converted once."""

    def __init__(self, row: DType) -> None:
        self._row = row
        self._texts: dict[int, str] = {}  # by the bits

    def __call__(self, flat: Array) -> list[str]:
        """Returns the texts of some elements."""
        bits = flat.view(f"u{self._row.itemsize}")
        for one in set(bits.tolist()) - self._texts.keys():
            value = np.array(one, bits.dtype).view(self._row.numpy)[()]
            self._texts[one] = _shortest(value, self._row)
        return [self._texts[one] for one in bits.tolist()]


def _shortest(value: Any, row: DType) -> str:
    """Returns the shortest decimal that reads back as ``value``, a scalar of an ml_dtypes type."""
    wide = float(value)
    if math.isnan(wide):
        return "nan"
    decimals = (f"{wide:.{digits}g}" for digits in range(1, _MAX_DIGITS))
    return next(text for text in decimals if row.numpy.type(float(text)) == value)
