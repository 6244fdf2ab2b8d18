"""The values that flow through the codecs: parameters, typed buffers, references, ropes.

Every encoder makes a ``Rope``.  A 256 MiB result as .npy is a rope of a 128-byte header and a
window into shared memory: serving it copies nothing.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from jaxfs.types.avals import Aval

Bytes = bytes | memoryview


class Parameter(Protocol):
    """One input or output."""

    @property
    def name(self) -> str:
        """Its name; may be empty."""
        ...

    @property
    def aval(self) -> Aval:
        """Its type."""
        ...


class ArrayPlace(Protocol):
    """Memory that was taken for one array: bytes are written to it in pieces."""

    def write(self, offset: int, data: Bytes) -> None:
        """Stores bytes at an offset; they must not reach beyond its end."""
        ...

    def view(self) -> memoryview:
        """Returns its bytes, read-only and without a copy."""
        ...

    def free(self) -> None:
        """Gives the memory back: no array needs it after all."""
        ...


TakePlace = Callable[[int, int], ArrayPlace]  # by the number of the array and its length in bytes
FOR_A_WHILE = -1  # the number where the bytes are freed before the array is there


class PrivatePlace:
    r"""A place in the memory of this process.

    >>> place = PrivatePlace(0, 3)
    >>> place.write(1, b"ab")
    >>> bytes(place.view())
    b'\x00ab'
    """

    def __init__(self, _index: int, nbytes: int) -> None:
        self._data = bytearray(nbytes)

    def write(self, offset: int, data: Bytes) -> None:
        """Stores bytes at an offset."""
        memoryview(self._data)[offset : offset + len(data)] = data

    def view(self) -> memoryview:
        """Returns the bytes."""
        return memoryview(self._data).toreadonly()

    def free(self) -> None:
        """Does nothing: the memory goes with the last view."""


class TypedBuffer(msgspec.Struct, frozen=True):
    """An array in memory: C order, little-endian, sub-byte types one byte an element.

    Attributes:
        aval: The array's type.
        data: The elements.  Raises ValueError unless its length is ``aval.nbytes``.
        offset: The offset of ``data`` in the decoded input, so that the engine can read that range
            of shared memory instead of a copy; None if the bytes had to be converted.
        place: The memory that was taken for ``data``, if they had to be converted or unpacked.
    """

    aval: Aval
    data: Bytes
    offset: int | None = None
    place: ArrayPlace | None = None

    def __post_init__(self) -> None:
        if len(self.data) != self.aval.nbytes:
            raise ValueError(f"{self.aval} takes {self.aval.nbytes} bytes, not {len(self.data)}")

    def array(self) -> NDArray[np.generic]:
        """Returns a numpy array on the same memory.

        Returns:
            A read-only array of the aval's shape, valid as long as ``data`` is.
        """
        dtype = self.aval.row.numpy
        if not self.data:
            return np.empty(self.aval.shape, dtype)
        return np.frombuffer(self.data, dtype).reshape(self.aval.shape)


class Reference(msgspec.Struct, frozen=True):
    """An argument that names an array of the mount.

    Attributes:
        path: ``arrays/w``, ``results/7`` or ``results/7.0``.
        leaf: Which of the arrays that the path refers to, from 0.
    """

    path: str
    leaf: int = 0


Argument = TypedBuffer | Reference


def flat_bytes(array: NDArray[np.generic]) -> Bytes:
    r"""Returns the elements of ``array`` as bytes in C order; a copy only if it is in another.

    >>> bytes(flat_bytes(np.array([[1, 2], [3, 4]], np.uint8).T))
    b'\x01\x03\x02\x04'
    """
    if array.size == 0:
        return b""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


class Rope:
    """Bytes in pieces: immutable, read at offsets, joined only where a read spans two of them.

    >>> rope = Rope([b"header", b"data"])
    >>> len(rope), bytes(rope.read(0, 4)), rope.read(4, 4)
    (10, b'head', b'erda')

    Attributes:
        pieces: The parts that are not empty.
        nbytes: The length of all together.
    """

    def __init__(self, pieces: Iterable[Bytes] = ()) -> None:
        self.pieces = tuple(piece for piece in map(_flat, pieces) if piece)
        ends = tuple(itertools.accumulate(map(len, self.pieces)))
        self._starts = (0, *ends)[: len(ends)]
        self.nbytes = ends[-1] if ends else 0

    @property
    def own_bytes(self) -> int:
        """The bytes that are no window into other memory."""
        return sum(len(piece) for piece in self.pieces if isinstance(piece, bytes))

    def __len__(self) -> int:
        return self.nbytes

    def __iter__(self) -> Iterator[Bytes]:
        return iter(self.pieces)

    def __bytes__(self) -> bytes:
        return b"".join(self.pieces)

    def read(self, offset: int, size: int) -> Bytes:
        """Returns up to ``size`` bytes from ``offset``; fewer only at the end, as pread(2).

        A range within one piece is a memoryview of that piece.
        """
        end = min(offset + size, self.nbytes)
        if offset >= end:
            return b""
        first = bisect_right(self._starts, offset) - 1
        last = bisect_right(self._starts, end - 1)
        found = [
            memoryview(self.pieces[i])[max(offset - start, 0) : end - start]
            for i, start in enumerate(self._starts[first:last], first)
        ]
        return found[0] if len(found) == 1 else b"".join(found)


def _flat(piece: Bytes) -> Bytes:
    """Returns the same memory as single bytes, so that lengths and offsets count bytes.

    ``memoryview.cast`` refuses a view without elements.
    """
    if isinstance(piece, bytes) or piece.format == "B":
        return piece
    return piece.cast("B") if piece.nbytes else b""
