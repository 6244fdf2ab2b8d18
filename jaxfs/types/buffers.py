"""The values that flow through the codecs: parameters, typed buffers, references, ropes.

``Rope`` is what every encoder makes.  A 256 MiB result as .npy is a rope of a 128-byte header and a
window into shared memory: serving it copies nothing.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import msgspec
import numpy as np

from jaxfs.types.avals import Aval

Bytes = bytes | memoryview


class Parameter(Protocol):
    """One input or output: its name, which may be empty, and its type."""

    @property
    def name(self) -> str: ...

    @property
    def aval(self) -> Aval: ...


class TypedBuffer(msgspec.Struct, frozen=True):
    """An array in memory: C order, little-endian, sub-byte types one byte an element.

    ``offset`` tells where in the decoded input ``data`` stands, so that the engine can be given
    that range of shared memory instead of a copy; it is None when the bytes had to be converted.
    Raises ValueError when ``data`` is not as long as ``aval`` says.
    """

    aval: Aval
    data: Bytes
    offset: int | None = None

    def __post_init__(self) -> None:
        if len(self.data) != self.aval.nbytes:
            raise ValueError(f"{self.aval} takes {self.aval.nbytes} bytes, not {len(self.data)}")

    def array(self) -> np.ndarray[Any, Any]:
        """A read-only numpy array on the same memory."""
        dtype = self.aval.row.numpy
        if not self.data:
            return np.empty(self.aval.shape, dtype)
        return np.frombuffer(self.data, dtype).reshape(self.aval.shape)


class Reference(msgspec.Struct, frozen=True):
    """An argument elsewhere in the tree: ``arrays/w``, ``results/7``, ``results/7.0``.

    ``leaf`` counts the arrays that one path stands for.
    """

    path: str
    leaf: int = 0


Argument = TypedBuffer | Reference


def flat_bytes(array: np.ndarray[Any, Any]) -> Bytes:
    """The elements of ``array`` as bytes in C order, without a copy where it is in C order."""
    if array.size == 0:
        return b""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


class Rope:
    """Bytes in pieces: immutable, read at offsets, joined only where a read crosses a seam."""

    def __init__(self, pieces: Iterable[Bytes] = ()) -> None:
        self.pieces = tuple(piece for piece in map(_flat, pieces) if piece)
        ends = tuple(itertools.accumulate(map(len, self.pieces)))
        self._starts = (0, *ends)[: len(ends)]
        self.nbytes = ends[-1] if ends else 0

    def __len__(self) -> int:
        return self.nbytes

    def __iter__(self) -> Iterator[Bytes]:
        return iter(self.pieces)

    def __bytes__(self) -> bytes:
        return b"".join(self.pieces)

    def read(self, offset: int, size: int) -> Bytes:
        """Up to ``size`` bytes from ``offset``; short only at the end, as pread(2) does.

        A memoryview on the piece itself when the range lies within one piece.
        """
        end = min(offset + size, self.nbytes)
        if offset >= end:
            return b""
        first = bisect_right(self._starts, offset) - 1
        last = bisect_right(self._starts, end - 1)
        parts = [self._part(i, offset, end) for i in range(first, last)]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _part(self, index: int, offset: int, end: int) -> memoryview:
        start = self._starts[index]
        return memoryview(self.pieces[index])[max(offset - start, 0) : end - start]


def _flat(piece: Bytes) -> Bytes:
    if isinstance(piece, bytes) or piece.format == "B":
        return piece
    return piece.cast("B") if piece.nbytes else b""
