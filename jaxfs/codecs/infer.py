"""The types of the arrays in a request, for programs whose types come with the call.

The request is then decoded with the parameters found here, like any other.  .npy, .npz and
.safetensors contain types.  A number in text has the element type of its parameter, if the program
has one and only sizes come with the call; else a number with a fraction is f32, a whole number i32,
true and false are bool, as in ``jax.numpy.asarray`` of a Python number.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from jaxfs.codecs import safetensors
from jaxfs.codecs.diagnostics import NAME_CHARS, positional_names
from jaxfs.codecs.foreign_files import check_archive, explained
from jaxfs.codecs.literals import Json, Mismatch, number_type, parse_value, shown
from jaxfs.codecs.long_lists import LONG_BYTES, LongList
from jaxfs.codecs.npy import MAX_HEADER_BYTES, NpyHeader, read_header
from jaxfs.codecs.pieces import checkpoint
from jaxfs.codecs.text_input import is_vector, reference_in, without_mark
from jaxfs.codecs.tokenizer import split
from jaxfs.codecs.zip_archives import read_members, read_start
from jaxfs.errors import Invalid
from jaxfs.types.avals import Aval
from jaxfs.types.buffers import Bytes
from jaxfs.types.partial_avals import KnownAval, PartialAval

MAX_ARRAYS = 1 << 14  # each costs some hundred bytes here, whatever its own length
MAX_WORDS = 10_000  # of text, where an array may be as short as one digit
_TYPES = ({bool}, "bool"), ({int}, "i32"), ({int, float}, "f32")  # the first that has all leaves
_I32 = range(-(1 << 31), 1 << 31)


class InferredParam(msgspec.Struct, frozen=True):
    """A parameter as the data has it.

    Attributes:
        name: The array's name in the data; empty if the format has none.
        aval: Its type.
    """

    name: str
    aval: Aval


class ExpectedParams(msgspec.Struct, frozen=True):
    """What is known of a program's parameters before the call.

    Attributes:
        names: The name of each.
        types: What is known of the type of each; empty if nothing is known of any.
    """

    names: Sequence[str] = ()
    types: Sequence[KnownAval] = ()

    def at(self, index: int) -> KnownAval:
        """Returns what is known of one parameter, by its position."""
        return self.types[index] if index < len(self.types) else None

    def name_at(self, index: int) -> str:
        """Returns the name of one parameter, for messages; empty if its position is not certain."""
        return "" if self.at(index) is None else self.names[index]

    def by_name(self) -> dict[str, KnownAval]:
        """Returns what is known of each parameter, by its names in an archive: its own or arr_0."""
        names = (*positional_names(len(self.names)), *self.names)
        return dict(zip(names, (*self.types, *self.types), strict=bool(self.types)))


ANYTHING = ExpectedParams()


def infer(
    format_name: str,
    data: memoryview,
    expected: ExpectedParams = ANYTHING,
    referred: Mapping[str, tuple[InferredParam, ...]] | None = None,
) -> tuple[InferredParam, ...]:
    """Returns the names and types of the arrays in a request.

    >>> [str(param.aval) for param in infer("json", memoryview(b"3 [1, 2.5] true"))]
    ['i32[]', 'f32[2]', 'bool[]']
    >>> from jaxfs.types.partial_avals import PartialAval
    >>> expected = ExpectedParams(["x"], [PartialAval("bf16", ("?", 2))])
    >>> infer("json", memoryview(b"[[1, 2], [3, 4], [5, 6]]"), expected)
    (InferredParam(name='x', aval=Aval(dtype='bf16', shape=(3, 2))),)

    Args:
        format_name: A format of ``formats``.
        data: A whole file in it.
        expected: What is known of the program's parameters.
        referred: The arrays of each reference in text.

    Returns:
        The arrays in the order of ``expected`` if they have just these names, else in their own.
        Whether the types fit the program is not checked.

    Raises:
        Invalid: The format contains no types, or the data is damaged.
    """
    if format_name == "json" and referred:
        return _text(data, expected, referred)
    find = _FIND.get(format_name)
    if find is None:
        raise Invalid(
            f"{format_name} does not say its types, and this program has none of its own; write "
            f"one of {', '.join(_FIND)}, or write the types to its signature file and call that"
        )
    found = find(data, expected)
    order = {name: number for number, name in enumerate(expected.names)}
    if len(expected.names) == len(found) and {param.name for param in found} == order.keys():
        return tuple(sorted(found, key=lambda param: order[param.name]))
    return found


def _npy(data: memoryview, expected: ExpectedParams) -> tuple[InferredParam, ...]:
    found, offset = list[InferredParam](), 0
    while offset < len(data):
        index = len(found)
        _check_count(index + 1, MAX_ARRAYS)
        header = read_header(data[offset:])
        if header is None:
            raise Invalid(f"input {index}: the .npy header is truncated")
        aval = _aval(header, f"input {index}", expected.at(index))
        found.append(InferredParam(expected.name_at(index), aval))
        offset += header.nbytes + aval.nbytes
    return tuple(found)


def _aval(header: NpyHeader, what: str, known: KnownAval) -> Aval:
    """Returns the type of an array, from its header or, for void data, from its parameter."""
    aval = header.aval if known is None else Aval(known.dtype, header.shape)
    if aval is None or not header.holds(aval):
        aval = header.aval
    if aval is None:
        raise Invalid(f"{what}: {header}")
    return aval


def _npz(data: memoryview, expected: ExpectedParams) -> tuple[InferredParam, ...]:
    found, known = list[InferredParam](), expected.by_name()
    members = read_members(data, MAX_ARRAYS + 1)
    _check_count(len(members), MAX_ARRAYS)
    check_archive(member.name for member in members)
    for member in members:
        checkpoint()
        name = member.name.removesuffix(".npy")
        try:
            header = read_header(read_start(data, member, MAX_HEADER_BYTES + 12))
        except Invalid as error:
            raise Invalid(f"member {name!r}: {error.reason}") from error
        if header is None:
            raise Invalid(f"member {name!r}: the .npy header is truncated")
        found.append(InferredParam(name, _aval(header, f"member {name!r}", known.get(name))))
    return _by_position(found)


def _check_count(count: int, limit: int) -> None:
    """Checks the number of arrays, before there are objects for them.

    Raises:
        Invalid: They are too many.
    """
    if count > limit:
        raise Invalid(
            f"the data is more than {limit} arrays; the numbers of one array are written in "
            "brackets, [1, 2, 3], or as one .npy"
        )


def _safetensors(data: memoryview, _expected: ExpectedParams) -> tuple[InferredParam, ...]:
    types = safetensors.types(data)
    _check_count(len(types), MAX_ARRAYS)
    return _by_position([InferredParam(name, aval) for name, aval in types])


def _by_position(found: list[InferredParam]) -> tuple[InferredParam, ...]:
    """Returns arrays called arr_0, arr_1 ... in this order: these are positions, not names."""
    for param in found:
        if len(param.name) > NAME_CHARS:
            raise Invalid(
                f"the name {param.name[:40]!r}... has {len(param.name)} characters; at most "
                f"{NAME_CHARS} are read"
            )
    positions = positional_names(len(found))
    if {param.name for param in found} != set(positions):
        return tuple(found)
    by_name = {param.name: param for param in found}
    return tuple(by_name[name] for name in positions)


def _text(
    data: memoryview,
    expected: ExpectedParams,
    referred: Mapping[str, tuple[InferredParam, ...]] = {},
) -> tuple[InferredParam, ...]:
    text = without_mark(data)
    try:
        return _text_params(text, expected, referred)
    except Invalid as error:
        raise explained(error, text) from error


def _text_params(
    data: memoryview, expected: ExpectedParams, referred: Mapping[str, tuple[InferredParam, ...]]
) -> tuple[InferredParam, ...]:
    ranks = [-1 if known is None else len(known.sizes) for known in expected.types]
    if is_vector(ranks, data):
        return (InferredParam(expected.name_at(0), _aval_of_vector(data, expected.at(0))),)
    words = split(data, MAX_WORDS)
    _check_count(len(words), MAX_WORDS)
    paths = [reference_in(word) for word in words]
    _check_count(sum(len(referred.get(path, " ")) if path else 1 for path in paths), MAX_ARRAYS)
    found = list[InferredParam]()
    for word, path in zip(words, paths, strict=True):
        index, arrays = len(found), referred.get(path or "")
        if arrays is None:
            aval = _aval_of_text(index, word, expected.at(index))
            arrays = (InferredParam(expected.name_at(index), aval),)
        found += arrays
    return tuple(found)


def _aval_of_vector(data: memoryview, known: KnownAval) -> Aval:
    if len(data) > LONG_BYTES:
        return _aval_of_long_list(0, data, known, is_words=True)
    return _aval_of_text(0, b"[" + b",".join(bytes(data).split()) + b"]", known)


def _aval_of_text(index: int, word: Bytes, known: KnownAval) -> Aval:
    if len(word) > LONG_BYTES:
        return _aval_of_long_list(index, memoryview(word), known)
    try:
        value = parse_value(bytes(word).decode())
    except (ValueError, RecursionError) as error:
        raise Invalid(f"input {index}: {bytes(word[:40])!r} is no JSON value") from error
    except Mismatch as error:
        raise Invalid(f"input {index}: {error}") from error
    shape, leaves = _flattened(index, value)
    if known is not None:
        return _known_aval(known, shape)
    return Aval(_dtype(index, _Kinds().seen_with(leaves), shown(value)), shape)


def _aval_of_long_list(
    index: int, text: memoryview, known: KnownAval, *, is_words: bool = False
) -> Aval:
    try:
        found = LongList.of(text, is_words=is_words)
        if known is not None:
            return _known_aval(known, found.shape)
        kinds = _Kinds()
        for values in found.numbers():
            kinds = kinds.seen_with(values)
    except Mismatch as error:
        raise Invalid(f"input {index}: {error}") from error
    return Aval(_dtype(index, kinds, repr(bytes(text[:40]))), found.shape)


def _known_aval(known: PartialAval, shape: tuple[int, ...]) -> Aval:
    """Returns the type of a list; a complex array may be written as [re, im] pairs."""
    is_pairs = known.dtype[0] == "c" and len(shape) == len(known.sizes) + 1 and shape[-1] == 2
    return Aval(known.dtype, shape[:-1] if is_pairs else shape)


class _Kinds(msgspec.Struct, frozen=True):
    """What the elements of a list are.

    Attributes:
        types: Their Python types.
        is_wide: Whether a whole number is beyond i32.
    """

    types: frozenset[type] = frozenset()
    is_wide: bool = False

    def seen_with(self, leaves: list[Any]) -> _Kinds:
        """Returns the kinds with those of more elements."""
        types = set(map(type, leaves))
        wide = types == {int} and not all(leaf in _I32 for leaf in leaves)
        if str in types:
            types = set(map(number_type, leaves))
        return _Kinds(self.types | types, self.is_wide or wide)


def _dtype(index: int, kinds: _Kinds, shown: str) -> str:
    """Returns the element type; f32 if there are no elements.

    Raises:
        Invalid: They are not all numbers, or not all true and false.
    """
    if not kinds.types:
        return "f32"
    for members, dtype in _TYPES:
        if kinds.types <= members:
            return "i64" if dtype == "i32" and kinds.is_wide else dtype
    raise Invalid(f"input {index}: {shown} is not made of numbers")


def _flattened(index: int, value: Json) -> tuple[tuple[int, ...], list[Any]]:
    """Returns the shape and the leaves of a nested list.

    Raises:
        Invalid: It is ragged.
    """
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
