"""The one table of formats: what can be read, what can be written, and what is known beforehand.

Adding a format is adding a row and its test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from jaxfs.codecs import npy, npz, png, raw, safetensors, text_input, text_output
from jaxfs.errors import Invalid
from jaxfs.types.buffers import Argument, Parameter, Rope, TypedBuffer


class Frames(Protocol):
    """Finds where one request ends in a stream of them."""

    def needed(self, buffer: memoryview) -> int | None: ...


Params = Sequence[Parameter]


def _no_check(params: Params) -> None:
    """Every output can be written."""


class Format(msgspec.Struct, frozen=True):
    """One format.

    ``decode`` is None where a call cannot be written in it, ``size`` where the length depends on
    the values, ``frames`` where requests cannot be told apart in a stream.  ``check`` raises
    Invalid for outputs the format cannot hold, before there are any values.
    """

    name: str
    meaning: str
    encode: Callable[[Params, Sequence[TypedBuffer]], Rope]
    size: Callable[[Params], int] | None = None
    check: Callable[[Params], None] = _no_check
    decode: Callable[[memoryview, Params], list[Argument]] | None = None
    frames: Callable[[Params], Frames] | None = None

    @property
    def suffix(self) -> str:
        """``.npy``"""
        return f".{self.name}"

    @property
    def is_input(self) -> bool:
        """Whether a call can be written in it."""
        return self.decode is not None

    @property
    def is_sized(self) -> bool:
        """Whether its length is known from the types alone."""
        return self.size is not None

    @property
    def is_framed(self) -> bool:
        """Whether a stream of requests can be told apart."""
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
        text_output.encode_json,
        check=text_output.check_json,
        decode=text_input.decode,
        frames=text_input.TextFrames,
    ),
    Format("txt", "numbers for people, a row a line", text_output.encode_txt),
    Format(
        "csv", "rows and columns with commas", text_output.encode_csv, check=text_output.check_csv
    ),
    Format("png", "an image", png.encode, check=png.check),
)
BY_NAME = {row.name: row for row in FORMATS}


def format_named(name: str) -> Format:
    """A row of the table.  Raises Invalid for any other name."""
    if name not in BY_NAME:
        raise Invalid(f"there is no format {name!r}; there are {', '.join(BY_NAME)}")
    return BY_NAME[name]


def detect(prefix: bytes | memoryview) -> str:
    """The input format that data beginning so has: ``npy``, ``npz`` or ``json``.

    One byte is enough, as no text argument begins like .npy or zip.  safetensors and raw data
    cannot be told by content and need an explicit name.
    """
    start = bytes(prefix[: len(npy.MAGIC)])
    for name, magic in (("npy", npy.MAGIC), ("npz", npz.MAGIC)):
        if start and magic.startswith(start[: len(magic)]):
            return name
    return "json"


def detect_file(data: memoryview) -> str:
    """The format of a whole file: what ``detect`` tells, or safetensors."""
    found = detect(data[:16])
    return "safetensors" if found == "json" and safetensors.is_likely(data) else found


def decode(name: str, data: bytes | memoryview, params: Params) -> list[Argument]:
    """A call's inputs, in signature order, as slices of ``data`` wherever they stand there.

    Raises Invalid, naming the parameter, what was expected and what was found.
    """
    row = format_named(name)
    if row.decode is None:
        inputs = ", ".join(other.name for other in FORMATS if other.is_input)
        raise Invalid(f"inputs cannot be read from {name}; write them as one of {inputs}")
    return row.decode(memoryview(data).cast("B"), params)


def encode(name: str, params: Params, buffers: Sequence[TypedBuffer]) -> Rope:
    """The outputs in a format.  Raises Invalid where it cannot hold them."""
    row = format_named(name)
    row.check(params)
    return row.encode(params, buffers)


def encoded_size(name: str, params: Params) -> int | None:
    """The exact length of ``encode``, in bytes; None where it depends on the values.

    Raises Invalid where the format cannot hold such outputs.
    """
    row = format_named(name)
    row.check(params)
    return None if row.size is None else row.size(params)
