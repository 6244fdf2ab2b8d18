r"""The table of formats: which can be read, which written, which have a size known beforehand.

A new format is a row here and its test.

>>> from jaxfs.types.avals import Aval
>>> from jaxfs.types.signature import Param
>>> x = Param("x", Aval("f32", (3,)))
>>> (buffer,) = decode("json", b"[1, 2, 3]", [x])
>>> buffer.array()
array([1., 2., 3.], dtype=float32)
>>> bytes(encode("csv", [x], [buffer]))
b'1.0,2.0,3.0\n'
>>> encoded_size("npy", [x])
140
>>> decode("json", b"[1, 2]", [x])
Traceback (most recent call last):
    ...
jaxfs.errors.Invalid: input 0 x: expected f32[3], got a list of shape [2]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import msgspec

from jaxfs.codecs import npy, npz, png, raw, safetensors, text_input, text_output, zip_archives
from jaxfs.errors import Invalid
from jaxfs.types.buffers import (
    Argument,
    Parameter,
    PrivatePlace,
    Rope,
    TakePlace,
    TypedBuffer,
)


class Frames(Protocol):
    """Finds the end of one request in a stream of them."""

    def needed(self, buffer: memoryview, /) -> int | None:
        """Returns the request's length in bytes; None while ``buffer`` is too short to know."""
        ...


Params = Sequence[Parameter]
Pieces = Callable[[Params, Sequence[TypedBuffer]], Iterator[bytes]]


def _no_check(_params: Params) -> None:
    """Accepts every output."""


def _joined(pieces: Pieces) -> Callable[[Params, Sequence[TypedBuffer]], Rope]:
    """Returns an encoder that makes a file at once."""
    return lambda params, buffers: Rope(pieces(params, buffers))


class Format(msgspec.Struct, frozen=True):
    """One format.

    Attributes:
        name: The suffix without its dot.
        meaning: Half a line for users.
        encode: Makes a file of outputs.
        size: Returns the length of ``encode``, in bytes; None if it depends on the values.
        check: Raises Invalid for outputs that the format cannot hold, before there are values.
        decode: Reads a call's inputs; None if calls cannot be written in the format.
        frames: Makes a finder of the end of one request; None if only the end of a file ends it.
        pieces: Yields a file in pieces, where it is made of new bytes; as text, several times as
            many as the arrays have.
        is_text: Whether it is text.
    """

    name: str
    meaning: str
    encode: Callable[[Params, Sequence[TypedBuffer]], Rope]
    size: Callable[[Params], int] | None = None
    check: Callable[[Params], None] = _no_check
    decode: Callable[[memoryview, Params, TakePlace], list[Argument]] | None = None
    frames: Callable[[Params], Frames] | None = None
    pieces: Pieces | None = None
    is_text: bool = False

    @property
    def suffix(self) -> str:
        """The name with its dot, ``.npy``."""
        return f".{self.name}"

    @property
    def is_input(self) -> bool:
        """Whether calls can be written in it."""
        return self.decode is not None

    @property
    def is_sized(self) -> bool:
        """Whether its length is known from the types alone."""
        return self.size is not None

    @property
    def is_framed(self) -> bool:
        """Whether requests in it can follow one another in a stream."""
        return self.frames is not None


FORMATS: tuple[Format, ...] = (
    Format(
        "npy",
        "numpy's arrays, one file after another",
        npy.encode,
        npy.size,
        decode=npy.decode,
        frames=npy.NpyFrames,
    ),
    Format("npz", "numpy's archive of arrays, by name", npz.encode, npz.size, decode=npz.decode),
    Format(
        "safetensors",
        "arrays by name; exact for bf16 and fp8",
        safetensors.encode,
        safetensors.size,
        safetensors.check,
        safetensors.decode,
        safetensors.SafetensorsFrames,
    ),
    Format(
        "raw",
        "the arrays' bytes, one after another: little-endian, C order",
        raw.encode,
        raw.size,
        decode=raw.decode,
        frames=raw.RawFrames,
    ),
    Format(
        "json",
        "numbers, nested lists and references as input; a JSON document as output",
        _joined(text_output.json_pieces),
        check=text_output.check_json,
        decode=lambda data, params, take: text_input.decode(data, params, take=take),
        frames=text_input.TextFrames,
        pieces=text_output.json_pieces,
        is_text=True,
    ),
    Format(
        "txt",
        "numbers for people, a row a line",
        _joined(text_output.txt_pieces),
        pieces=text_output.txt_pieces,
        is_text=True,
    ),
    Format(
        "csv",
        "rows and columns with commas",
        _joined(text_output.csv_pieces),
        check=text_output.check_csv,
        pieces=text_output.csv_pieces,
        is_text=True,
    ),
    Format("png", "an image", _joined(png.pieces), check=png.check, pieces=png.pieces),
)
BY_NAME = {row.name: row for row in FORMATS}


def format_named(name: str) -> Format:
    """Returns a row of the table.

    Raises:
        Invalid: There is no format of this name.
    """
    if name not in BY_NAME:
        raise Invalid(f"there is no format {name!r}; there are {', '.join(BY_NAME)}")
    return BY_NAME[name]


def detect(prefix: bytes | memoryview) -> str:
    """Returns the input format of data that begins with ``prefix``: ``npy``, ``npz`` or ``json``.

    One byte is enough, as no text argument begins like .npy or zip.  safetensors and raw data
    cannot be recognised and need an explicit name.

    >>> detect(b"PK"), detect(b"[1, 2]")
    ('npz', 'json')
    """
    start = bytes(prefix[: len(npy.MAGIC)])
    for name, magic in (("npy", npy.MAGIC), ("npz", zip_archives.MAGIC)):
        if start and magic.startswith(start[: len(magic)]):
            return name
    return "json"


def detect_file(data: memoryview) -> str:
    """Returns the format of a whole file.

    It may also be safetensors. Those begin with a length, which only the whole file can confirm, so
    the bytes at the front of a stream are never taken for it.
    """
    found = detect(data[:16])
    return "safetensors" if found == "json" and safetensors.is_likely(data) else found


def is_sliced(name: str, data: memoryview, params: Params) -> bool:
    """Returns whether decoding takes no look at the elements, only slices: not worth a thread."""
    if name not in ("npy", "raw") or not all(p.aval.row.takes_any_bits for p in params):
        return False
    return name == "raw" or npy.is_in_memory_order(data, params)


def decode(
    name: str, data: bytes | memoryview, params: Params, take: TakePlace = PrivatePlace
) -> list[Argument]:
    """Returns a call's inputs, in signature order.

    Args:
        name: A format.
        data: A whole file in it.
        params: The parameters of the program.
        take: Returns the memory for an array that has to be converted or unpacked.

    Returns:
        For each parameter a buffer, a slice of ``data`` if possible; or, from text, a reference.

    Raises:
        Invalid: The data does not fit; the reason names the parameter, its type and what was found.
    """
    row = format_named(name)
    if row.decode is None:
        inputs = ", ".join(other.name for other in FORMATS if other.is_input)
        raise Invalid(f"inputs cannot be read from {name}; write them as one of {inputs}")
    return row.decode(memoryview(data).cast("B"), params, take)


def encode(name: str, params: Params, buffers: Sequence[TypedBuffer]) -> Rope:
    """Returns the outputs in a format.

    Raises:
        Invalid: The format cannot hold them, or there is no format of this name.
        TooBig: The text would be too long.
    """
    row = format_named(name)
    row.check(params)
    if row.is_text:
        text_output.check_length(name, params)
    return row.encode(params, buffers)


def pieces_of(name: str, params: Params, buffers: Sequence[TypedBuffer]) -> Iterator[bytes] | None:
    """Returns what yields the outputs in a format, piece by piece.

    Returns:
        The pieces; None if the format consists of the arrays' own bytes.

    Raises:
        Invalid: The format cannot hold them, or there is no format of this name.
        TooBig: The text would be too long.
    """
    row = format_named(name)
    row.check(params)
    if row.pieces is None:
        return None
    if row.is_text:
        text_output.check_length(name, params)
    return row.pieces(params, buffers)


def encoded_size(name: str, params: Params) -> int | None:
    """Returns the exact length of ``encode``, in bytes; None if it depends on the values.

    Raises:
        Invalid: The format cannot hold such outputs, or there is no format of this name.
    """
    row = format_named(name)
    row.check(params)
    return None if row.size is None else row.size(params)
