"""Finds the format of a source by its content; a program's name has no extension."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from jaxfs.errors import Invalid
from jaxfs.types.avals import Aval
from jaxfs.types.signature import Signature

BYTECODE_MAGIC = b"ML\xefR"
_PRODUCER = b"StableHLO_v"  # in portable artifacts, after the magic and a version byte


class ParsedSource(msgspec.Struct):
    """A parsed source: a module that is validated but not yet in normal form.

    Attributes:
        module: The MLIR module.
        signature: Its inputs and outputs.
        source_format: As ``detect`` finds it.
        platforms: Where it may run; empty for everywhere.
    """

    module: Any
    signature: Signature
    source_format: str
    platforms: tuple[str, ...] = ()


Types = Sequence[Aval] | None  # of all inputs, if the call has them

_PYTHON = "Python source; pickle the function with cloudpickle, or export it with jax.export"
_OLD_PICKLE = "a pickle of protocol 0 or 1; use protocol 2 or later"
# Files that are no programs: how each begins, its name, what to do instead.
_MISTAKES: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a zip or .npz file"),
    (b"\x93NUMPY", "a .npy array; arrays are written to a program's call file"),
    (b"\x7fELF", "native code; write StableHLO, or a jax.export artifact"),
    (b"\x1f\x8b", "gzip data; unpack it first"),
    (b"\x89HDF", "an HDF5 file; export the model with jax.export"),
    (b"\xef\xbb\xbf", "text with a byte order mark; save it as UTF-8 without one"),
    (b"\xff\xfe", "UTF-16 text; save it as UTF-8"),
    (b"\xfe\xff", "UTF-16 text; save it as UTF-8"),
    (b"HloModule", "HLO text; write StableHLO text (jax.jit(f).lower(x).as_text())"),
    (b"{ lambda", "a printed jaxpr; write jax.jit(f).lower(x).as_text()"),
    (b"import ", _PYTHON),
    (b"from ", _PYTHON),
    (b"def ", _PYTHON),
    (b"c__", _OLD_PICKLE),
    (b"ccopy_reg\n", _OLD_PICKLE),
    (b"ccloudpickle", _OLD_PICKLE),
)


def detect(data: bytes) -> str:
    r"""Returns the ``source_format`` of a program.

    >>> detect(b"func.func @main() { return }"), detect(b"\x80\x05\x95")
    ('stablehlo_text', 'pickle')

    Raises:
        Invalid: The bytes cannot be a program.
    """
    if not data.strip():
        found = "holds only white space" if data else "is empty"
        raise Invalid(f"not a program: the file {found}")
    if data.startswith(BYTECODE_MAGIC):
        is_portable = data[5 : 5 + len(_PRODUCER)] == _PRODUCER
        return "portable_artifact" if is_portable else "mlir_bytecode"
    if is_pickle(data):
        return "pickle"
    for magic, what in _MISTAKES:
        if data.startswith(magic):
            raise Invalid(f"not a program: this is {what}")
    return "jax_export" if b"\0" in data[:64] else "stablehlo_text"


def is_pickle(data: bytes) -> bool:
    """Returns whether the bytes begin as a pickle of protocol 2 or later.

    A jax.export artifact may begin alike, with the offset of its root table, but the upper bytes of
    that are 0.
    """
    return data[:1] == b"\x80" and data[1:2] > b"\x01" and data[2:4] != b"\0\0"


def decode_text(data: bytes) -> str:
    """Returns UTF-8 as text.

    Raises:
        Invalid: It is not UTF-8; the message names the first bad byte.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Invalid(
            f"not a program: neither StableHLO text (byte {error.start} is not UTF-8), "
            "nor MLIR bytecode, nor a jax.export artifact"
        ) from None
