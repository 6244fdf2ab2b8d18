""".npy: several arrays are one stream of files, one after another, in signature order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxfs.codecs.buffers import Argument, Parameter, Rope, TypedBuffer, flat_bytes
from jaxfs.codecs.checks import label, refuse, refuse_count, sliced, typed
from jaxfs.codecs.npy_header import MAGIC, Header, file_bytes, header, read_header
from jaxfs.errors import Invalid


def encode(params: Sequence[Parameter], buffers: Sequence[TypedBuffer]) -> Rope:
    """The outputs as a stream of .npy files; only the headers are new bytes."""
    return Rope(piece for buffer in buffers for piece in (header(buffer.aval), buffer.data))


def size(params: Sequence[Parameter]) -> int:
    """The exact length of ``encode``, in bytes."""
    return sum(file_bytes(p.aval) for p in params)


def decode(data: memoryview, params: Sequence[Parameter]) -> list[Argument]:
    """The inputs, in signature order.  Native C-order arrays are slices of ``data``.

    Raises Invalid for a wrong count, type, trailing or missing bytes.
    """
    arguments: list[Argument] = []
    offset = 0
    for index, param in enumerate(params):
        if offset == len(data):
            raise refuse_count(params, index)
        argument, offset = decode_one(data, offset, index, param)
        arguments.append(argument)
    if offset < len(data):
        raise refuse_count(params, _excess(data[offset:]))
    return arguments


def _excess(rest: memoryview) -> str:
    what = "another .npy file" if bytes(rest[: len(MAGIC)]) == MAGIC else "trailing bytes"
    return f"{what} after them ({len(rest)} bytes)"


def decode_one(
    data: memoryview, offset: int, index: int, param: Parameter
) -> tuple[TypedBuffer, int]:
    """The array whose header stands at ``offset``, and where its data ends."""
    found = checked_header(data[offset:], index, param)
    if found is None:
        raise Invalid(f"{label(index, param)}: the .npy header is truncated")
    start = offset + found.nbytes
    stored = sliced(index, param, data, start)
    return _in_memory_order(found, stored, index, param), start + param.aval.nbytes


def checked_header(data: memoryview, index: int, param: Parameter) -> Header | None:
    """The header at the start of ``data`` if it is all there; Invalid if it is not ``param``'s."""
    try:
        found = read_header(data)
    except Invalid as error:
        raise Invalid(f"{label(index, param)}: {error.reason}") from error
    if found is not None and not found.holds(param.aval):
        raise refuse(index, param, found)
    return found


def _in_memory_order(
    found: Header, buffer: TypedBuffer, index: int, param: Parameter
) -> TypedBuffer:
    """Fortran order and big-endian data rearranged; anything else as it is."""
    fortran = found.fortran_order and len(found.shape) > 1
    swapped = found.big_endian and buffer.aval.row.is_native and buffer.aval.row.itemsize > 1
    if not buffer.data or not (fortran or swapped):
        return buffer
    array: np.ndarray[Any, Any] = np.frombuffer(buffer.data, buffer.aval.row.numpy)
    if swapped:
        array = array.byteswap()
    if fortran:
        array = array.reshape(found.shape[::-1]).T
    return typed(index, param, flat_bytes(array))


class Frames:
    """Finds the end of one request in a conversation.  See ``framing.Framer``."""

    def __init__(self, params: Sequence[Parameter]) -> None:
        self._params = params
        self._index = 0
        self._offset = 0  # where the header of input ``_index`` begins

    def needed(self, buffer: memoryview) -> int | None:
        """The request's length once the last header is there.  Raises Invalid at a wrong one."""
        while self._index < len(self._params):
            param = self._params[self._index]
            found = checked_header(buffer[self._offset :], self._index, param)
            if found is None:
                return None
            self._offset += found.nbytes + param.aval.nbytes
            self._index += 1
        return self._offset
