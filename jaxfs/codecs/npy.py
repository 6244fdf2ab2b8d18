""".npy: several arrays are one stream of files, one after another, in signature order.

The format is NEP 1, https://numpy.org/neps/nep-0001-npy-format.html; versions 1.0 to 3.0 are read,
1.0 is written.
"""

from __future__ import annotations

import functools
import re
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from jaxfs.codecs import npy_types
from jaxfs.codecs.diagnostics import label, mismatch, sliced, wrong_count
from jaxfs.codecs.pieces import checkpoint
from jaxfs.errors import Invalid
from jaxfs.types.avals import Aval
from jaxfs.types.buffers import (
    Argument,
    Bytes,
    Parameter,
    Rope,
    TakePlace,
    TypedBuffer,
    flat_bytes,
)

MAGIC = b"\x93NUMPY"
MAX_HEADER_BYTES = 10_000  # numpy's own limit for files it does not trust
MAX_RANK = 64
_CONVERTED_BYTES = 2 << 20  # at once, without the interpreter
_ALIGNMENT = 64
_GROWTH_DIGITS = 21  # numpy leaves room for the first dimension to grow in place
_LENGTH_FORMAT = {(1, 0): "<H", (2, 0): "<I", (3, 0): "<I"}
_ENTRY = re.compile(  # Python 2 wrote (2L, 3L), and u'descr' in some programs
    r"""\s*u?['"](?P<key>descr|fortran_order|shape)['"]\s*:\s*
    (?:u?['"](?P<descr>[^'"]*)['"]|(?P<flag>True|False)
    |\(\s*(?P<shape>(?:\d{1,19}L?\s*,\s*)*(?:\d{1,19}L?\s*)?)\))\s*(?:,|(?=\s*\}))""",
    re.VERBOSE | re.ASCII,
)
_VALUE_OF = {"descr": "descr", "fortran_order": "flag", "shape": "shape"}


def encode(_params: Sequence[Parameter], buffers: Sequence[TypedBuffer]) -> Rope:
    """Returns the outputs as a stream of .npy files; only the headers are new bytes."""
    return Rope(piece for buffer in buffers for piece in (header(buffer.aval), buffer.data))


def size(params: Sequence[Parameter]) -> int:
    """Returns the exact length of ``encode``, in bytes."""
    return sum(file_bytes(param.aval) for param in params)


def decode(data: memoryview, params: Sequence[Parameter], take: TakePlace) -> list[Argument]:
    """Returns the inputs, in signature order; little-endian C-order arrays are slices of ``data``.

    Raises:
        Invalid: A count or type is wrong, or bytes are missing or left over.
    """
    arguments: list[Argument] = []
    offset = 0
    for index, param in enumerate(params):
        if offset == len(data):
            raise wrong_count(params, index)
        argument, offset = decode_one(data, offset, index, param, take)
        arguments.append(argument)
    if offset < len(data):
        is_file = bytes(data[offset : offset + len(MAGIC)]) == MAGIC
        excess = "another .npy file" if is_file else "trailing bytes"
        raise wrong_count(params, f"{excess} after them ({len(data) - offset} bytes)")
    return arguments


def decode_one(
    data: memoryview, offset: int, index: int, param: Parameter, take: TakePlace
) -> tuple[TypedBuffer, int]:
    """Returns the array of the file at ``offset``, and the offset of its end.

    Raises:
        Invalid: The file is damaged or incomplete, or its array is not of the type of ``param``.
    """
    found = checked_header(data[offset:], index, param)
    if found is None:
        raise Invalid(f"{label(index, param)}: the .npy header is truncated")
    start = offset + found.nbytes
    stored = sliced(index, param, data, start)
    return in_memory_order(found, stored, index, take), start + param.aval.nbytes


def checked_header(data: memoryview, index: int, param: Parameter) -> NpyHeader | None:
    """Returns the header as ``read_header`` does.

    Raises:
        Invalid: It is damaged, or the array is not of the type of ``param``.
    """
    try:
        found = read_header(data)
    except Invalid as error:
        raise Invalid(f"{label(index, param)}: {error.reason}") from error
    if found is not None and not found.holds(param.aval):
        raise mismatch(index, param, found.described(param.aval))
    return found


def is_in_memory_order(data: memoryview, params: Sequence[Parameter]) -> bool:
    """Returns whether ``decode`` copies nothing; true also for data that it refuses."""
    offset = 0
    for param in params:
        try:
            found = read_header(data[offset:])
        except Invalid:
            return True
        if found is None:
            return True
        if found.fortran_order or found.big_endian:
            return False
        offset += found.nbytes + param.aval.nbytes
    return True


def in_memory_order(
    found: NpyHeader, buffer: TypedBuffer, index: int, take: TakePlace
) -> TypedBuffer:
    """Returns an array in C order and little-endian.

    It is the same one if it is so already.  If only its bytes are swapped and it has a place of its
    own, it stays there; else it is written to another one, and gives its own back.

    Args:
        found: The order in which it is.
        buffer: The array.
        index: Its number, for ``take``.
        take: Returns memory.
    """
    fortran = found.is_transposed
    swapped = found.big_endian and buffer.aval.row.is_native and buffer.aval.row.itemsize > 1
    if not buffer.data or not (fortran or swapped):
        return buffer
    aval, raw = buffer.aval, buffer.place
    array: np.ndarray[Any, Any] = np.frombuffer(buffer.data, aval.row.numpy)
    array = array.reshape(found.shape[::-1]).T if fortran else array
    place = take(index, aval.nbytes) if fortran or raw is None else raw
    end = 0
    for piece in _in_c_order(array, aval.row.numpy if swapped else None):
        place.write(end, piece)
        end += len(piece)
    if raw is not None and place is not raw:
        raw.free()
    return TypedBuffer(aval, place.view(), None, place)


def _in_c_order(array: np.ndarray[Any, Any], swapped: np.dtype[Any] | None) -> Iterator[Bytes]:
    """Yields the bytes of an array in C order, some megabytes at once.

    Args:
        array: The array, in any order.
        swapped: Its element type, if the bytes of each element have to be swapped.
    """
    row_bytes = array.nbytes // len(array)
    step = max(_CONVERTED_BYTES // max(row_bytes, 1), 1)
    for start in range(0, len(array), step):
        checkpoint()
        some = array[start : start + step]
        if some.nbytes > _CONVERTED_BYTES:
            yield from _in_c_order(some[0], swapped)
        else:
            yield flat_bytes(some if swapped is None else some.byteswap())


class NpyFrames:
    """Finds the end of one request: the last byte of as many files as there are inputs."""

    def __init__(self, params: Sequence[Parameter]) -> None:
        self._params = params
        self._index = 0
        self._offset = 0  # where the header of input ``_index`` begins

    def needed(self, buffer: memoryview) -> int | None:
        """Returns the request's length in bytes; None while the last header is incomplete.

        Raises:
            Invalid: A header is damaged, or not that of the input.
        """
        while self._index < len(self._params):
            param = self._params[self._index]
            found = checked_header(buffer[self._offset :], self._index, param)
            if found is None:
                return None
            self._offset += found.nbytes + param.aval.nbytes
            self._index += 1
        return self._offset


class NpyHeader(msgspec.Struct, frozen=True):
    """The content of a .npy header.

    Attributes:
        code: The dtype without its byte order: ``f4``, ``V2``.
        big_endian: The byte order.
        fortran_order: Whether the first dimension is the fastest.
        shape: The sizes of the dimensions.
        nbytes: The length of the magic, the length field and the header itself.
    """

    code: str
    big_endian: bool
    fortran_order: bool
    shape: tuple[int, ...]
    nbytes: int

    def __str__(self) -> str:
        dtype = npy_types.SHORT_OF.get(self.code)
        return str(Aval(dtype, self.shape)) if dtype else npy_types.foreign(self.code, self.shape)

    def described(self, expected: Aval) -> str:
        """Returns what the array is, where ``expected`` was: bf16 is void data to numpy."""
        is_same = self.code in npy_types.CODES_OF[expected.dtype]
        return str(Aval(expected.dtype, self.shape) if is_same else self)

    @property
    def is_transposed(self) -> bool:
        """Whether the elements are in another order than that of memory."""
        return self.fortran_order and len(self.shape) > 1

    @property
    def aval(self) -> Aval | None:
        """The type; None if numpy's name for it has several meanings (bf16 is void to numpy)."""
        dtype = npy_types.SHORT_OF.get(self.code)
        return Aval(dtype, self.shape) if dtype is not None else None

    def holds(self, aval: Aval) -> bool:
        """Returns whether the data that follows is an array of type ``aval``."""
        return self.shape == aval.shape and self.code in npy_types.CODES_OF[aval.dtype]


def read_header(data: memoryview) -> NpyHeader | None:
    """Returns the header at the start of ``data``; None while it is incomplete.

    >>> read_header(memoryview(header(Aval("f32", (2, 3)))))
    NpyHeader(code='f4', big_endian=False, fortran_order=False, shape=(2, 3), nbytes=128)

    Raises:
        Invalid: ``data`` cannot be the start of a .npy file.
    """
    prefix = bytes(data[:12])
    if not prefix.startswith(MAGIC[: len(prefix)]):
        raise Invalid(f"expected .npy data, which begins with {MAGIC!r}, got {prefix[:6]!r}")
    if len(prefix) < 8:
        return None
    version = prefix[6], prefix[7]
    layout = _LENGTH_FORMAT.get(version)
    if layout is None:
        raise Invalid(f".npy version {prefix[6]}.{prefix[7]} is not known; 1.0, 2.0 and 3.0 are")
    start = 8 + struct.calcsize(layout)
    if len(prefix) < start:
        return None
    end = start + struct.unpack_from(layout, prefix, 8)[0]
    if end - start > MAX_HEADER_BYTES:
        raise Invalid(f"a .npy header of {end - start} bytes; at most {MAX_HEADER_BYTES} are read")
    return _parse(bytes(data[start:end]), end) if len(data) >= end else None


@functools.lru_cache(256)  # requests come with the same few headers
def _parse(header: bytes, nbytes: int) -> NpyHeader:
    text = header.decode("utf-8", "replace").strip()
    fields = _fields(text)
    descr = npy_types.parse_descr(fields.get("descr", ""))
    if fields.keys() != _VALUE_OF.keys() or descr is None:
        raise Invalid(npy_types.no_plain_array(text))
    shape = tuple(int(n) for n in re.findall(r"\d+", fields["shape"], re.ASCII))
    if len(shape) > MAX_RANK:
        raise Invalid(f"a .npy array of {len(shape)} dimensions; numpy has at most {MAX_RANK}")
    return NpyHeader(
        code=descr[0],
        big_endian=descr[1],
        fortran_order=fields["fortran_order"] == "True",
        shape=shape,
        nbytes=nbytes,
    )


def _fields(text: str) -> dict[str, str]:
    """Returns the entries of the header's dict, as text; empty if it is no dict."""
    fields: dict[str, str] = {}
    position = 1 if text.startswith("{") else len(text)
    while match := _ENTRY.match(text, position):
        value = match[_VALUE_OF[match["key"]]]
        if value is None or match["key"] in fields:
            return {}
        fields[match["key"]], position = value, match.end()
    return fields if text[position:].strip() == "}" else {}


@functools.lru_cache(256)
def header(aval: Aval) -> bytes:
    """Returns the header that ``np.save`` writes for ``aval``: version 1.0, n times 64 bytes.

    Extension types are void, as numpy reads them back: ``<V2`` for bf16.
    """
    shape, row = aval.shape, aval.row
    descr = row.numpy.str if row.is_native else f"<V{row.itemsize}"
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    if shape:
        text += " " * (_GROWTH_DIGITS - len(str(shape[0])))
    start = len(MAGIC) + 4
    text += " " * (-(start + len(text) + 1) % _ALIGNMENT) + "\n"
    return MAGIC + b"\x01\x00" + struct.pack("<H", len(text)) + text.encode("ascii")


def file_bytes(aval: Aval) -> int:
    """Returns the length of the whole .npy file of an ``aval``, in bytes."""
    return len(header(aval)) + aval.nbytes
