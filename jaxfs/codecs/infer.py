"""What types some data has, for programs whose types come with the call.

A request is then decoded with the parameters found here, like any other.  .npy, .npz and
.safetensors say their types.  A number in text has the element type of its parameter where the
program tells it, and only sizes come with the call; else a number with a fraction is f32, a whole
number i32, true and false are bool, as in ``jax.numpy.asarray`` of a Python number.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from jaxfs.codecs import safetensors
from jaxfs.codecs.diagnostics import positional_names
from jaxfs.codecs.literals import parse_value
from jaxfs.codecs.npy import MAX_HEADER_BYTES, NpyHeader, read_header
from jaxfs.codecs.npz import read_member, read_members
from jaxfs.codecs.text_input import is_vector
from jaxfs.codecs.tokenizer import split
from jaxfs.errors import Invalid
from jaxfs.types.avals import Aval
from jaxfs.types.partial_avals import KnownAval, PartialAval

MAX_ARRAYS = 10_000
MAX_MEMBER_BYTES = 1 << 30  # of a packed one, which may be much longer than the data
_TYPES = ({bool}, "bool"), ({int}, "i32"), ({int, float}, "f32")  # the first that holds all
_I32 = range(-(1 << 31), 1 << 31)


class InferredParam(msgspec.Struct, frozen=True):
    """A parameter as the data has it.  The name is empty where the format has none."""

    name: str
    aval: Aval


class ExpectedParams(msgspec.Struct, frozen=True):
    """The parameters of a program: their names, and as far as it tells, their types."""

    names: Sequence[str] = ()
    types: Sequence[KnownAval] = ()

    def at(self, index: int) -> KnownAval:
        """What is known of the parameter in a place."""
        return self.types[index] if index < len(self.types) else None

    def by_name(self) -> dict[str, KnownAval]:
        """What is known of each parameter, as an archive calls it: by its name, or arr_0 ..."""
        names = (*positional_names(self.names), *self.names)
        return dict(zip(names, (*self.types, *self.types), strict=bool(self.types)))


ANYTHING = ExpectedParams()


def infer(
    form: str,
    data: memoryview,
    wanted: ExpectedParams = ANYTHING,
    referred: Mapping[str, tuple[InferredParam, ...]] | None = None,
) -> tuple[InferredParam, ...]:
    """The arrays in ``data``, in the order of the parameters ``wanted`` where they have just their
    names, else in their own; ``referred`` are those that references in text stand for.

    Raises Invalid where the data does not say its types.  Whether they fit is another question.
    """
    if form == "json" and referred:
        return _text(data, wanted, referred)
    find = _FIND.get(form)
    if find is None:
        raise Invalid(
            f"{form} does not say its types, and this program has none of its own; write one of "
            f"{', '.join(_FIND)}, or write the types to its signature file and call that"
        )
    found = find(data, wanted)
    order = list(wanted.names)
    if len(order) == len(found) and {one.name for one in found} == set(order):
        return tuple(sorted(found, key=lambda one: order.index(one.name)))
    return found


def _npy(data: memoryview, wanted: ExpectedParams) -> tuple[InferredParam, ...]:
    found, offset = list[InferredParam](), 0
    while offset < len(data) and len(found) < MAX_ARRAYS:
        header = read_header(data[offset:])
        if header is None:
            raise Invalid(f"input {len(found)}: the .npy header is truncated")
        known = wanted.at(len(found))
        aval = _aval(header, f"input {len(found)}", known)
        found.append(InferredParam(_name(wanted, len(found)), aval))
        offset += header.nbytes + aval.nbytes
    return tuple(found)


def _name(wanted: ExpectedParams, index: int) -> str:
    """What messages call an array without a name: as its parameter, where it must be that one."""
    return "" if wanted.at(index) is None else wanted.names[index]


def _aval(header: NpyHeader, what: str, known: KnownAval) -> Aval:
    aval = header.aval if known is None else Aval(known.dtype, header.shape)
    if aval is None or not header.holds(aval):
        aval = header.aval
    if aval is None:
        raise Invalid(
            f"{what}: a .npy of type {header.code} does not say which type of jax it is; "
            "write it as .safetensors"
        )
    return aval


def _npz(data: memoryview, wanted: ExpectedParams) -> tuple[InferredParam, ...]:
    found, known = list[InferredParam](), wanted.by_name()
    for member in read_members(data, MAX_ARRAYS):
        name = member.name.removesuffix(".npy")
        content, _ = read_member(data, member, MAX_MEMBER_BYTES)
        header = read_header(content[: MAX_HEADER_BYTES + 12])
        if header is None:
            raise Invalid(f"member {name!r}: the .npy header is truncated")
        found.append(InferredParam(name, _aval(header, f"member {name!r}", known.get(name))))
    return _named(found)


def _safetensors(data: memoryview, wanted: ExpectedParams) -> tuple[InferredParam, ...]:
    return _named([InferredParam(name, aval) for name, aval in safetensors.types(data)])


def _named(found: list[InferredParam]) -> tuple[InferredParam, ...]:
    """arr_0, arr_1 ... are positions, not names."""
    positions = positional_names(found)
    if {one.name for one in found} != set(positions):
        return tuple(found)
    by_name = {one.name: one for one in found}
    return tuple(by_name[name] for name in positions)


def _text(
    data: memoryview, wanted: ExpectedParams, referred: Mapping[str, tuple[InferredParam, ...]] = {}
) -> tuple[InferredParam, ...]:
    found, words = list[InferredParam](), split(data)
    if is_vector([-1 if one is None else len(one.sizes) for one in wanted.types], words, data):
        words = [b"[" + b",".join(words) + b"]"]
    for word in words:
        index, arrays = len(found), referred.get(word.decode(errors="replace"))
        if arrays is None:
            aval = _aval_of_text(index, word, wanted.at(index))
            arrays = (InferredParam(_name(wanted, index), aval),)
        found += arrays
    return tuple(found)


def _aval_of_text(index: int, word: bytes, known: KnownAval) -> Aval:
    try:
        value = parse_value(word.decode())
    except (ValueError, RecursionError) as error:
        raise Invalid(f"input {index}: {word[:40]!r} is no JSON value") from error
    shape, leaves = _flattened(index, value)
    if known is not None:
        return Aval(known.dtype, _shape_of(known, shape))
    types = set(map(type, leaves))
    for members, dtype in _TYPES:
        if types <= members and leaves:
            wide = dtype == "i32" and not all(leaf in _I32 for leaf in leaves)
            return Aval("i64" if wide else dtype, shape)
    if not leaves:
        return Aval("f32", shape)
    raise Invalid(f"input {index}: {json.dumps(value)[:40]} is not made of numbers")


def _shape_of(known: PartialAval, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a nested list of numbers, which in a complex array may be [re, im] pairs."""
    has_pairs = known.dtype[0] == "c" and len(shape) == len(known.sizes) + 1 and shape[-1] == 2
    return shape[:-1] if has_pairs else shape


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


_FIND: dict[str, Callable[[memoryview, ExpectedParams], tuple[InferredParam, ...]]] = {
    "npy": _npy,
    "npz": _npz,
    "safetensors": _safetensors,
    "json": _text,
}
