"""The words with which an input is refused: parameter, expected, found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxfs.errors import Invalid
from jaxfs.types.buffers import Bytes, Parameter, TypedBuffer

_LISTED = 8  # parameters and names an error message lists before it says how many more there are
_NAME_CHARS = 255
_RESERVED = "__metadata__"  # by safetensors
# the element types that are narrower than the byte they stand in; the rest of it must be 0
_LARGEST_BYTE = {"bool": 1, "i2": 3, "u2": 3, "i4": 15, "u4": 15, "f4_e2m1fn": 15}


def refuse(index: int, param: Parameter, found: object) -> Invalid:
    """``input 0 x: expected f32[16], got i32[16]``, to be raised."""
    return Invalid(f"{label(index, param)}: expected {param.aval}, got {found}")


def label(index: int, param: Parameter) -> str:
    """``input 0 x``, or ``input 0`` where the source tells no name."""
    return f"input {index} {param.name}".rstrip()


def refuse_count(params: Sequence[Parameter], found: object) -> Invalid:
    """``expected 2 inputs (x f32[16], y f32[16]), got 1``, to be raised."""
    return Invalid(f"expected {_count(params)}, got {found}")


def refuse_names(params: Sequence[Parameter], found: Sequence[str]) -> Invalid:
    """``expected 1 input (x f32[16]), got the names a, b``, to be raised."""
    return refuse_count(params, f"the names {_some(list(found))}" if found else "no names")


def _count(params: Sequence[Parameter]) -> str:
    if not params:
        return "no inputs"
    types = _some([f"{p.name} {p.aval}".strip() for p in params])
    return f"{len(params)} input{'s' if len(params) > 1 else ''} ({types})"


def _some(words: Sequence[str]) -> str:
    more = len(words) - _LISTED
    return ", ".join(words[:_LISTED]) + (f", and {more} more" if more > 0 else "")


def sliced(index: int, param: Parameter, data: memoryview, offset: int) -> TypedBuffer:
    """The buffer of ``param`` where it stands in ``data``, without a copy.

    Raises Invalid when ``data`` ends too early, and for bytes that are no bool or no 4-bit number.
    """
    found = data[offset : offset + param.aval.nbytes]
    if len(found) < param.aval.nbytes:
        said = f"{len(found)} of its {param.aval.nbytes} bytes: the data is truncated"
        raise refuse(index, param, said)
    return typed(index, param, found, offset)


def typed(index: int, param: Parameter, data: Bytes, offset: int | None = None) -> TypedBuffer:
    """A checked buffer.  XLA takes any byte for a bool or an f4, and computes nonsense with it."""
    largest = _LARGEST_BYTE.get(param.aval.dtype)
    if largest is not None and data:
        found = np.max(np.frombuffer(data, np.uint8))
        if found > largest:
            raise refuse(index, param, f"the byte {found} where {largest} is the largest element")
    return TypedBuffer(param.aval, data, offset)


def member_names(params: Sequence[Parameter]) -> tuple[str, ...]:
    """The names under which arrays are stored in one file: their own, or ``arr_0``, ``arr_1`` ...

    Their own only if every one is printable, of moderate length and there once.
    """
    names = tuple(p.name for p in params)
    usable = all(map(_is_usable, names)) and len(set(names)) == len(names)
    return names if usable else positional_names(params)


def _is_usable(name: str) -> bool:
    return 0 < len(name) <= _NAME_CHARS and name.isprintable() and name != _RESERVED


def positional_names(params: Sequence[object]) -> tuple[str, ...]:
    """What ``np.savez`` calls arrays that were given no name."""
    return tuple(f"arr_{index}" for index in range(len(params)))


def in_signature_order(params: Sequence[Parameter], found: Sequence[str]) -> tuple[str, ...]:
    """The names of ``found`` in the order of ``params``: by name, or arr_0, arr_1 ...

    Raises Invalid when they are neither.
    """
    for names in (member_names(params), positional_names(params)):
        if len(found) == len(names) and set(found) == set(names):
            return names
    raise refuse_names(params, found)


def check_single(params: Sequence[Parameter], what: str) -> Parameter:
    """The only output.  Raises Invalid for a format that holds just one."""
    if len(params) != 1:
        raise Invalid(f"{what} holds one output, not {len(params)}; name it, as in .0{what}")
    return params[0]
