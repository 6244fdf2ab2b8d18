"""How an element is written for people: the fewest digits that read back as the same element.

numpy does this for its own types.  For the others it prints the value of a wider type, 0.100098
for the bf16 nearest to 0.1; as these types have at most 65,536 values, each is found by trying.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxfs.codecs.avals import DType
from jaxfs.codecs.buffers import TypedBuffer

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
