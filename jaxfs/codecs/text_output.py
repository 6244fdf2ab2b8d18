"""Outputs as text: .json for programs, .txt for people, .csv for spreadsheets.

JSON (RFC 8259, and NaN and Infinity as Python writes them) has the exact value of every element, as
a double if the type is a float, and complex numbers as [re, im].  .txt and .csv (RFC 4180, without
a header and with LF) have the shortest number that reads back as the same element.
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

Array = np.ndarray[Any, Any]
_MAX_EMPTY_LISTS = 1 << 20  # a shape of [10000000000,0] has no elements and a list for each row
_MAX_DIGITS = 17


def check_json(params: Sequence[Parameter]) -> None:
    """Checks the arrays without elements, which are nested empty lists.

    Raises:
        Invalid: One would be millions of empty lists.
    """
    for param in params:
        lists = math.prod(itertools.takewhile(bool, param.aval.shape))
        if param.aval.size == 0 and lists > _MAX_EMPTY_LISTS:
            raise Invalid(f"{param.aval} {param.name} is {lists} empty lists as .json; take .npy")


def encode_json(params: Sequence[Parameter], buffers: Sequence[TypedBuffer]) -> Rope:
    """Returns one document: the output; several as an object by name, or a list without names."""
    values = [_value(buffer) for buffer in buffers]
    names = [p.name for p in params]
    document: object = values
    if len(values) == 1:
        document = values[0]
    elif all(names) and len(set(names)) == len(names):
        document = dict(zip(names, values, strict=True))
    return Rope([json.dumps(document).encode() + b"\n"])


def _value(buffer: TypedBuffer) -> object:
    """Returns nested lists of Python's bools, ints and floats."""
    array: Array = buffer.array()
    if buffer.aval.dtype.startswith("c"):
        array = np.stack([array.real, array.imag], axis=-1)
    return array.tolist()


def encode_txt(params: Sequence[Parameter], buffers: Sequence[TypedBuffer]) -> Rope:
    """Returns a line for each row of the last axis, with blank lines between matrices.

    Each of several outputs has a heading ``# <index> <name> <type>``.
    """
    lines: list[str] = []
    for index, (param, buffer) in enumerate(zip(params, buffers, strict=True)):
        if len(buffers) > 1:
            lines.append(" ".join(["#", str(index), *param.name.split(), str(buffer.aval)]))
        lines += _spaced(_rows(buffer, " "), buffer.aval.shape)
    return _text(lines)


def check_csv(params: Sequence[Parameter]) -> None:
    """Checks that there is one output, of rank 0 to 2.

    Raises:
        Invalid: There are others, or its rank is higher.
    """
    param = check_single(params, ".csv")
    if len(param.aval.shape) > 2:
        raise Invalid(f".csv has rows and columns; {param.aval} {param.name} has more; take .txt")


def encode_csv(_params: Sequence[Parameter], buffers: Sequence[TypedBuffer]) -> Rope:
    """Returns a line for each row of the last axis, with commas and no header."""
    return _text(_rows(buffers[0], ","))


def _rows(buffer: TypedBuffer, separator: str) -> list[str]:
    """Returns the lines of an array; none if it has no elements."""
    texts = literals_of(buffer)
    width = buffer.aval.shape[-1] if buffer.aval.shape else 1
    starts = range(0, len(texts), max(width, 1))
    return [separator.join(texts[start : start + width]) for start in starts]


def _spaced(rows: list[str], shape: tuple[int, ...]) -> Iterator[str]:
    """Yields the rows, with an empty one between matrices."""
    height = shape[-2] if len(shape) > 2 else 0
    for index, row in enumerate(rows):
        if height and index and index % height == 0:
            yield ""
        yield row


def _text(lines: list[str]) -> Rope:
    return Rope(["".join(f"{line}\n" for line in lines).encode()])


def literals_of(buffer: TypedBuffer) -> list[str]:
    """Returns the elements in C order: ``true``, ``-3``, ``0.1``, ``nan``, ``1+2j``."""
    row, flat = buffer.aval.row, buffer.array().reshape(-1)
    if row.short == "bool":
        return ["true" if value else "false" for value in flat.tolist()]
    if row.short.startswith("c"):
        return [_complex(str(value.real), str(value.imag)) for value in flat]
    if row.short[0] in "iu":
        return list(map(str, flat.tolist()))
    return list(map(str, flat)) if row.is_native else _extension_floats(flat, row)


def _complex(real: str, imaginary: str) -> str:
    return f"{real}{'' if imaginary.startswith('-') else '+'}{imaginary}j"


def _extension_floats(flat: Array, row: DType) -> list[str]:
    """Returns elements of an ml_dtypes type; each value is converted once."""
    bits, which = np.unique(flat.view(f"u{row.itemsize}"), return_inverse=True)
    texts = [_shortest(value, row) for value in bits.view(row.numpy)]
    return [texts[index] for index in which.tolist()]


def _shortest(value: Any, row: DType) -> str:
    """Returns the shortest decimal that reads back as ``value``, a scalar of an ml_dtypes type."""
    wide = float(value)
    if math.isnan(wide):
        return "nan"
    decimals = (f"{wide:.{digits}g}" for digits in range(1, _MAX_DIGITS))
    return next(text for text in decimals if row.numpy.type(float(text)) == value)
