"""Abstract values: the dtype and shape of an array, in JAX's short names.

``DTYPES`` is the one table of element types.  A row has the name that users write (``short``, as in
``f32[16]``), MLIR's name (``mlir``), and the dtype of numpy or ml_dtypes that holds it in memory.
Sub-byte types (``i4``, ``u2``, ``f4_e2m1fn`` ...) take one byte per element, as in ml_dtypes.
"""

from __future__ import annotations

import math
import re
from typing import Any

import ml_dtypes
import msgspec
import numpy as np

from jaxfs.errors import Invalid

_NARROW = {"i2": 2, "u2": 2, "i4": 4, "u4": 4, "f4_e2m1fn": 4}  # bits by name


class DType(msgspec.Struct, frozen=True):
    """One element type.

    Attributes:
        short: JAX's short name, as users write it: ``f32``.
        mlir: The name in MLIR's text: ``ui8``, ``complex<f32>``.
        numpy: The ``np.dtype``; of ml_dtypes where numpy has none.
    """

    short: str
    mlir: str
    numpy: Any  # a np.dtype; numpy's stubs do not know the ml_dtypes extensions

    @property
    def itemsize(self) -> int:
        """Bytes of one element in memory.

        >>> BY_SHORT["bf16"].itemsize, BY_SHORT["i4"].itemsize  # not packed: a byte an element
        (2, 1)
        """
        return int(self.numpy.itemsize)

    @property
    def bits(self) -> int:
        """Bits of one element on a device that packs types narrower than a byte.

        >>> BY_SHORT["i4"].bits, BY_SHORT["f32"].bits
        (4, 32)
        """
        return _NARROW.get(self.short, 8 * self.itemsize)

    @property
    def is_narrow(self) -> bool:
        """Whether an element has fewer bits than a byte: XLA's arrays are copied to read them."""
        return self.short in _NARROW

    @property
    def takes_any_bits(self) -> bool:
        """Whether every byte pattern is a value: not for bool and types narrower than a byte.

        Raw bytes of the other types need no check before a program gets them.
        """
        return self.short != "bool" and not self.is_narrow

    @property
    def is_native(self) -> bool:
        """Whether .npy can name this type; the others are stored as void (``<V2``).

        >>> BY_SHORT["f16"].is_native, BY_SHORT["bf16"].is_native
        (True, False)
        """
        return bool(self.numpy.type.__module__ == "numpy")


def _row(short: str, mlir: str, numpy: str) -> DType:
    return DType(short, mlir, np.dtype(getattr(ml_dtypes, numpy, numpy)))


DTYPES: tuple[DType, ...] = (
    _row("bool", "i1", "bool"),
    _row("i2", "i2", "int2"),
    _row("i4", "i4", "int4"),
    _row("i8", "i8", "int8"),
    _row("i16", "i16", "int16"),
    _row("i32", "i32", "int32"),
    _row("i64", "i64", "int64"),
    _row("u2", "ui2", "uint2"),
    _row("u4", "ui4", "uint4"),
    _row("u8", "ui8", "uint8"),
    _row("u16", "ui16", "uint16"),
    _row("u32", "ui32", "uint32"),
    _row("u64", "ui64", "uint64"),
    _row("f4_e2m1fn", "f4E2M1FN", "float4_e2m1fn"),
    _row("f8_e3m4", "f8E3M4", "float8_e3m4"),
    _row("f8_e4m3", "f8E4M3", "float8_e4m3"),
    _row("f8_e4m3fn", "f8E4M3FN", "float8_e4m3fn"),
    _row("f8_e4m3fnuz", "f8E4M3FNUZ", "float8_e4m3fnuz"),
    _row("f8_e4m3b11fnuz", "f8E4M3B11FNUZ", "float8_e4m3b11fnuz"),
    _row("f8_e5m2", "f8E5M2", "float8_e5m2"),
    _row("f8_e5m2fnuz", "f8E5M2FNUZ", "float8_e5m2fnuz"),
    _row("f8_e8m0fnu", "f8E8M0FNU", "float8_e8m0fnu"),
    _row("bf16", "bf16", "bfloat16"),
    _row("f16", "f16", "float16"),
    _row("f32", "f32", "float32"),
    _row("f64", "f64", "float64"),
    _row("c64", "complex<f32>", "complex64"),
    _row("c128", "complex<f64>", "complex128"),
)
BY_SHORT = {row.short: row for row in DTYPES}
BY_MLIR = {row.mlir: row for row in DTYPES}
BY_NUMPY = {row.numpy: row for row in DTYPES}

_SIZE_DIGITS = 18  # Python refuses to parse thousands
_AVAL = re.compile(r"(?P<dtype>[a-z][a-z0-9_]*)\[(?P<shape>[0-9, ]*)\]\Z")


class Aval(msgspec.Struct, frozen=True, array_like=True):
    """The type of an array, as ``jax.core.ShapedArray``.

    Attributes:
        dtype: The element type, a short name of ``DTYPES``.
        shape: The static shape; empty for a scalar.
    """

    dtype: str
    shape: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"

    @property
    def row(self) -> DType:
        """This aval's row of ``DTYPES``."""
        return BY_SHORT[self.dtype]

    @property
    def size(self) -> int:
        """How many elements it has; 1 for a scalar.

        >>> parse_aval("f32[2,3]").size, parse_aval("f32[]").size, parse_aval("f32[0,3]").size
        (6, 1, 0)
        """
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes in memory, where a type narrower than a byte takes one.

        >>> parse_aval("f32[2,3]").nbytes, parse_aval("i4[3]").nbytes
        (24, 3)
        """
        return self.size * self.row.itemsize

    @property
    def packed_nbytes(self) -> int:
        """Bytes on a device with memory of its own, which packs types narrower than a byte.

        >>> parse_aval("f32[2,3]").packed_nbytes, parse_aval("i4[3]").packed_nbytes
        (24, 2)
        """
        return -(-self.size * self.row.bits // 8)


def parse_aval(text: str) -> Aval:
    """Returns the type that ``text`` names.

    Raises:
        Invalid: It names none.

    >>> parse_aval("f32[2,3]")
    Aval(dtype='f32', shape=(2, 3))
    >>> str(parse_aval("bf16[]")), parse_aval("bf16[8]").nbytes
    ('bf16[]', 16)
    """
    match = _AVAL.match(text.strip())
    if match is None or match["dtype"] not in BY_SHORT:
        raise Invalid(f"{text!r} is no type; write a dtype and a shape, for example f32[16]")
    sizes = match["shape"].replace(",", " ").split()
    if any(len(size) > _SIZE_DIGITS for size in sizes):
        raise Invalid(f"{text[:40]!r}... has a size beyond what arrays have")
    return Aval(match["dtype"], tuple(map(int, sizes)))
