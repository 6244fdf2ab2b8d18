"""Outputs as text: .json for programs, .txt for people, .csv for spreadsheets.

JSON tells the exact value of every element, as a double where the type is a float, and complex
numbers as [re, im].  The other two write the shortest number that reads back as the same element.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from jaxfs.codecs.diagnostics import check_single
from jaxfs.errors import Invalid
from jaxfs.types.avals import DType
from jaxfs.types.buffers import Parameter, Rope, TypedBuffer

_MAX_EMPTY_LISTS = 1 << 20  # a shape of [10000000000,0] has no elements and a list for each row


def check_json(params: Sequence[Parameter]) -> None:
    """Raises Invalid for an empty array that would still be millions of empty lists."""
    for param in params:
        lists = math.prod(itertools.takewhile(bool, param.aval.shape))
        if param.aval.size == 0 and lists > _MAX_EMPTY_LISTS:
            raise Invalid(f"{param.aval} {param.name} is {lists} empty lists as .json; take .npy")


def encode_json(params: Sequence[Parameter], buffers: Sequence[TypedBuffer]) -> Rope:
    """One document: the output; several as an object by name, or as a list without names."""
    values = [_value(buffer) for buffer in buffers]
    names = [p.name for p in params]
    document: object = values
    if len(values) == 1:
        document = values[0]
    elif all(names) and len(set(names)) == len(names):
        document = dict(zip(names, values, strict=True))
    return Rope([json.dumps(document).encode() + b"\n"])


def _value(buffer: TypedBuffer) -> object:
    """Nested lists of Python's bools, ints and floats."""
    array: np.ndarray[Any, Any] = buffer.array()
    if buffer.aval.dtype.startswith("c"):
        array = np.stack([array.real, array.imag], axis=-1)
    return array.tolist()


def encode_txt(params: Sequence[Parameter], buffers: Sequence[TypedBuffer]) -> Rope:
    """A row of the last axis a line, a blank line between matrices.

    Several outputs stand below ``# <index> <name> <type>`` each.
    """
    lines: list[str] = []
    for index, (param, buffer) in enumerate(zip(params, buffers, strict=True)):
        if len(buffers) > 1:
            lines.append(" ".join(["#", str(index), *param.name.split(), str(buffer.aval)]))
        lines += _spaced(_rows(buffer, " "), buffer.aval.shape)
    return _text(lines)


def check_csv(params: Sequence[Parameter]) -> None:
    """Raises Invalid unless there is one output, of rank 0 to 2."""
    param = check_single(params, ".csv")
    if len(param.aval.shape) > 2:
        raise Invalid(f".csv has rows and columns; {param.aval} {param.name} has more; take .txt")


def encode_csv(params: Sequence[Parameter], buffers: Sequence[TypedBuffer]) -> Rope:
    """A row of the last axis a line, with commas and no header."""
    return _text(_rows(buffers[0], ","))


def _rows(buffer: TypedBuffer, separator: str) -> list[str]:
    """The lines of an array; none where it has no elements."""
    texts = numerals(buffer)
    width = buffer.aval.shape[-1] if buffer.aval.shape else 1
    starts = range(0, len(texts), max(width, 1))
    return [separator.join(texts[start : start + width]) for start in starts]


def _spaced(rows: list[str], shape: tuple[int, ...]) -> Iterator[str]:
    height = shape[-2] if len(shape) > 2 else 0
    for index, row in enumerate(rows):
        if height and index and index % height == 0:
            yield ""
        yield row


def _text(lines: list[str]) -> Rope:
    return Rope(["".join(f"{line}\n" for line in lines).encode()])


Array = np.ndarray[Any, Any]
_MAX_DIGITS = 17


def numerals(buffer: TypedBuffer) -> list[str]:
    """The elements in C order: ``true``, ``-3``, ``0.1``, ``nan``, ``1+2j``."""
    row, flat = buffer.aval.row, buffer.array().reshape(-1)
    if row.short == "bool":
        return ["true" if value else "false" for value in flat.tolist()]
    if row.short.startswith("c"):
        return [_signed(str(v.real), str(v.imag)) for v in flat]
    if row.short[0] in "iu":
        return list(map(str, flat.tolist()))
    return _floats(flat) if row.is_native else _extension_floats(flat, row)


def _signed(real: str, imaginary: str) -> str:
    return f"{real}{'' if imaginary.startswith('-') else '+'}{imaginary}j"


def _floats(flat: Array) -> list[str]:
    return list(map(str, flat))


def _extension_floats(flat: Array, row: DType) -> list[str]:
    bits, which = np.unique(flat.view(f"u{row.itemsize}"), return_inverse=True)
    texts = [_shortest(value, row) for value in bits.view(row.numpy)]
    return [texts[index] for index in which.tolist()]


def _shortest(value: Any, row: DType) -> str:
    """``value`` is a scalar of an ml_dtypes type."""
    wide = float(value)
    if wide != wide:
        return "nan"
    tries = (f"{wide:.{digits}g}" for digits in range(1, _MAX_DIGITS))
    return next(text for text in tries if row.numpy.type(float(text)) == value)
