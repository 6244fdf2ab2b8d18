"""Errors for inputs that do not fit: each names the parameter, what it takes and what was found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxfs.codecs.pieces import BLOCK_BYTES, blocks
from jaxfs.errors import Invalid
from jaxfs.types.buffers import Bytes, Parameter, TypedBuffer

_LISTED = 8  # parameters and names an error message lists before it says how many more there are
NAME_CHARS = 255
_RESERVED = "__metadata__"  # by safetensors
# element types that are narrower than the byte each element takes; its other bits must be 0
_LARGEST_BYTE = {"bool": 1, "i2": 3, "u2": 3, "i4": 15, "u4": 15, "f4_e2m1fn": 15}


def mismatch(index: int, param: Parameter, found: str) -> Invalid:
    """Returns the error ``input 0 x: expected f32[16], got i32[16]``.

    Args:
        index: The position of the input, from 0.
        param: Its parameter.
        found: What was found instead: a type or a phrase.
    """
    return Invalid(f"{label(index, param)}: expected {param.aval}, got {found}")


def label(index: int, param: Parameter) -> str:
    """Returns ``input 0 x``, or ``input 0`` for a parameter without a name."""
    return f"input {index} {param.name}".rstrip()


def wrong_count(params: Sequence[Parameter], found: str | int) -> Invalid:
    """Returns the error ``expected 2 inputs (x f32[16], y f32[16]), got 1``."""
    expected = "no inputs"
    if params:
        types = _first_few([f"{param.name} {param.aval}".strip() for param in params])
        expected = f"{len(params)} input{'s' if len(params) > 1 else ''} ({types})"
    return Invalid(f"expected {expected}, got {found}")


def _first_few(texts: Sequence[str]) -> str:
    more = len(texts) - _LISTED
    return ", ".join(texts[:_LISTED]) + (f", and {more} more" if more > 0 else "")


def sliced(index: int, param: Parameter, data: memoryview, offset: int) -> TypedBuffer:
    """Returns the array of ``param`` at ``offset`` in ``data``, without a copy.

    Raises:
        Invalid: ``data`` ends too early, or a byte is no element of the type.
    """
    found = data[offset : offset + param.aval.nbytes]
    if len(found) < param.aval.nbytes:
        part = f"{len(found)} of its {param.aval.nbytes} bytes: the data is truncated"
        raise mismatch(index, param, part)
    return checked_buffer(index, param, found, offset)


def checked_buffer(
    index: int, param: Parameter, data: Bytes, offset: int | None = None
) -> TypedBuffer:
    """Returns the buffer, all bytes of which are elements of its type.

    XLA takes any byte for a bool or an f4, and computes nonsense with it.

    Raises:
        Invalid: A byte is no element.
    """
    largest = _LARGEST_BYTE.get(param.aval.dtype)
    if largest is not None and data:
        pieces = (data,) if len(data) <= BLOCK_BYTES else blocks(memoryview(data))
        found = max(int(np.max(np.frombuffer(piece, np.uint8))) for piece in pieces)
        if found > largest:
            raise mismatch(index, param, f"the byte {found} where {largest} is the largest element")
    return TypedBuffer(param.aval, data, offset)


def member_names(params: Sequence[Parameter]) -> tuple[str, ...]:
    """Returns the names that arrays have in a file: their own, or ``arr_0``, ``arr_1`` ...

    They have their own only if all of these are printable, different, and up to 255 characters.
    """
    names = tuple(param.name for param in params)
    usable = all(
        0 < len(name) <= NAME_CHARS and name.isprintable() and name != _RESERVED for name in names
    )
    return names if usable and len(set(names)) == len(names) else positional_names(len(params))


def positional_names(count: int) -> tuple[str, ...]:
    """Returns the names that ``np.savez`` gives to ``count`` arrays without one."""
    return tuple(f"arr_{index}" for index in range(count))


def in_signature_order(params: Sequence[Parameter], found: Sequence[str]) -> tuple[str, ...]:
    """Returns the names of ``found`` in the order of ``params``: by name, or arr_0, arr_1 ...

    Raises:
        Invalid: They are neither.
    """
    for names in (member_names(params), positional_names(len(params))):
        if len(found) == len(names) and set(found) == set(names):
            return names
    raise wrong_count(params, f"the names {_first_few(found)}" if found else "no names")


def check_single(params: Sequence[Parameter], suffix: str) -> Parameter:
    """Returns the only output.

    Raises:
        Invalid: There are more or none, and the format ``suffix`` holds just one.
    """
    if len(params) != 1:
        raise Invalid(f"{suffix} holds one output, not {len(params)}; name it, as in .0{suffix}")
    return params[0]
