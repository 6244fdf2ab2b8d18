"""What types some data has, for programs whose types come with the call.

A request is then decoded with the parameters found here, like any other.  .npy, .npz and
.safetensors say their types; of text, a number with a fraction is f32, a whole number i32, true
and false are bool, as in ``jax.numpy.asarray`` of a Python number.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from jaxfs.codecs import safetensors
from jaxfs.codecs.archive import read_member, read_members
from jaxfs.codecs.avals import Aval
from jaxfs.codecs.checks import positional_names
from jaxfs.codecs.literals import parse_value
from jaxfs.codecs.npy_header import MAX_HEADER_BYTES, Header, read_header
from jaxfs.codecs.words import split
from jaxfs.errors import Invalid

MAX_ARRAYS = 10_000
MAX_MEMBER_BYTES = 1 << 30  # of a packed one, which may be much longer than the data
_TYPES = ({bool}, "bool"), ({int}, "i32"), ({int, float}, "f32")  # the first that holds all
_I32 = range(-(1 << 31), 1 << 31)


class Found(msgspec.Struct, frozen=True):
    """A parameter as the data has it.  The name is empty where the format has none."""

    name: str
    aval: Aval


def infer(
    form: str,
    data: memoryview,
    names: Sequence[str],
    known: Mapping[str, tuple[Found, ...]] | None = None,
) -> tuple[Found, ...]:
    """The arrays in ``data``, in the order of the program's parameter ``names`` where they have
    just these names, else in their own; ``known`` are those that references in text stand for.
    Raises Invalid where the data does not say its types.
    """
    if form == "json" and known:
        return _text(data, known)
    find = _FIND.get(form)
    if find is None:
        raise Invalid(
            f"{form} does not say its types, and this program has none of its own; write one of "
            f"{', '.join(_FIND)}, or write the types to its signature file and call that"
        )
    found = find(data)
    order = list(names)
    if len(order) == len(found) and {one.name for one in found} == set(order):
        return tuple(sorted(found, key=lambda one: order.index(one.name)))
    return found


def _npy(data: memoryview) -> tuple[Found, ...]:
    found, offset = list[Found](), 0
    while offset < len(data) and len(found) < MAX_ARRAYS:
        header = read_header(data[offset:])
        if header is None:
            raise Invalid(f"input {len(found)}: the .npy header is truncated")
        aval = _aval(header, f"input {len(found)}")
        found.append(Found("", aval))
        offset += header.nbytes + aval.nbytes
    return tuple(found)


def _aval(header: Header, what: str) -> Aval:
    aval = header.aval
    if aval is None:
        raise Invalid(
            f"{what}: a .npy of type {header.code} does not say which type of jax it is; "
            "write it as .safetensors"
        )
    return aval


def _npz(data: memoryview) -> tuple[Found, ...]:
    found = []
    for member in read_members(data, MAX_ARRAYS):
        name = member.name.removesuffix(".npy")
        content, _ = read_member(data, member, MAX_MEMBER_BYTES)
        header = read_header(content[: MAX_HEADER_BYTES + 12])
        if header is None:
            raise Invalid(f"member {name!r}: the .npy header is truncated")
        found.append(Found(name, _aval(header, f"member {name!r}")))
    return _named(found)


def _safetensors(data: memoryview) -> tuple[Found, ...]:
    return _named([Found(name, aval) for name, aval in safetensors.types(data)])


def _named(found: list[Found]) -> tuple[Found, ...]:
    """arr_0, arr_1 ... are positions, not names."""
    positions = positional_names(found)
    if {one.name for one in found} != set(positions):
        return tuple(found)
    by_name = {one.name: one for one in found}
    return tuple(by_name[name] for name in positions)


def _text(data: memoryview, known: Mapping[str, tuple[Found, ...]] = {}) -> tuple[Found, ...]:
    found = list[Found]()
    for word in split(data):
        referred = known.get(word.decode(errors="replace"))
        found += (Found("", _aval_of_text(len(found), word)),) if referred is None else referred
    return tuple(found)


def _aval_of_text(index: int, word: bytes) -> Aval:
    try:
        value = parse_value(word.decode())
    except (ValueError, RecursionError) as error:
        raise Invalid(f"input {index}: {word[:40]!r} is no JSON value") from error
    shape, leaves = _flattened(index, value)
    types = set(map(type, leaves))
    for members, dtype in _TYPES:
        if types <= members and leaves:
            wide = dtype == "i32" and not all(leaf in _I32 for leaf in leaves)
            return Aval("i64" if wide else dtype, shape)
    if not leaves:
        return Aval("f32", shape)
    raise Invalid(f"input {index}: {json.dumps(value)[:40]} is not made of numbers")


def _flattened(index: int, value: object) -> tuple[tuple[int, ...], list[Any]]:
    shape = list[int]()
    level: list[Any] = [value]
    while level and set(map(type, level)) == {list}:
        lengths = set(map(len, level))
        if len(lengths) > 1:
            raise Invalid(f"input {index}: a ragged list is no array")
        shape.append(lengths.pop())
        level = list(itertools.chain.from_iterable(level))
    return tuple(shape), level


_FIND: dict[str, Callable[[memoryview], tuple[Found, ...]]] = {
    "npy": _npy,
    "npz": _npz,
    "safetensors": _safetensors,
    "json": _text,
}
