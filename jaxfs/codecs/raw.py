"""Raw bytes: all arrays back to back, in signature order, little-endian, C order."""

from __future__ import annotations

from collections.abc import Sequence

from jaxfs.codecs.diagnostics import sliced, wrong_count
from jaxfs.types.buffers import Argument, Parameter, Rope, TakePlace, TypedBuffer


def encode(_params: Sequence[Parameter], buffers: Sequence[TypedBuffer]) -> Rope:
    """Returns the outputs' own bytes, not copied."""
    return Rope(buffer.data for buffer in buffers)


def size(params: Sequence[Parameter]) -> int:
    """Returns the exact length of ``encode``, in bytes."""
    return sum(param.aval.nbytes for param in params)


def decode(data: memoryview, params: Sequence[Parameter], _take: TakePlace) -> list[Argument]:
    """Returns the inputs as slices of ``data``.

    Raises:
        Invalid: ``data`` is longer or shorter than the inputs are.
    """
    if len(data) != size(params):
        raise wrong_count(params, f"{len(data)} bytes instead of {size(params)}")
    arguments: list[Argument] = []
    offset = 0
    for index, param in enumerate(params):
        arguments.append(sliced(index, param, data, offset))
        offset += param.aval.nbytes
    return arguments


class RawFrames:
    """Finds the end of one request: always after the same number of bytes."""

    def __init__(self, params: Sequence[Parameter]) -> None:
        self._nbytes = size(params)

    def needed(self, _buffer: memoryview) -> int | None:
        """Returns the bytes of all inputs."""
        return self._nbytes
