"""Raw bytes: all arrays back to back, in signature order, as they stand in memory."""

from __future__ import annotations

from collections.abc import Sequence

from jaxfs.codecs.diagnostics import refuse_count, sliced
from jaxfs.types.buffers import Argument, Parameter, Rope, TypedBuffer


def encode(params: Sequence[Parameter], buffers: Sequence[TypedBuffer]) -> Rope:
    """The outputs' own bytes, not copied."""
    return Rope(buffer.data for buffer in buffers)


def size(params: Sequence[Parameter]) -> int:
    """The exact length of ``encode``, in bytes."""
    return sum(p.aval.nbytes for p in params)


def decode(data: memoryview, params: Sequence[Parameter]) -> list[Argument]:
    """Slices of ``data``.  Raises Invalid unless it has exactly the bytes the inputs take."""
    if len(data) != size(params):
        raise refuse_count(params, f"{len(data)} bytes instead of {size(params)}")
    arguments: list[Argument] = []
    offset = 0
    for index, param in enumerate(params):
        arguments.append(sliced(index, param, data, offset))
        offset += param.aval.nbytes
    return arguments


class RawFrames:
    """The end of one request: always after the same number of bytes."""

    def __init__(self, params: Sequence[Parameter]) -> None:
        self._nbytes = size(params)

    def needed(self, buffer: memoryview) -> int | None:
        return self._nbytes
