"""Long lists of numbers in text, read in pieces into the memory of the array.

Python's JSON reader makes an object of each number, up to 25 bytes for each byte of text, and
stops all threads meanwhile.  Here the brackets and commas alone give the shape; then the numbers of
one piece after another become elements.  ``literals`` has the rules for each number.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import attrs
import numpy as np

from jaxfs.codecs.literals import Json, Mismatch, convert, parse_value
from jaxfs.codecs.pieces import PIECE_BYTES, checkpoint
from jaxfs.types.avals import BY_SHORT, Aval
from jaxfs.types.buffers import Bytes, PrivatePlace, TakePlace, TypedBuffer, flat_bytes

Array = np.ndarray[Any, Any]
LONG_BYTES = 1 << 15  # a longer text is read here, a shorter one at once
_NUMBER_BYTES = 1 << 15  # of a number at most, with the spaces around it
_BEYOND_STRUCTURE = bytes(set(range(256)) - set(b"[],"))
_SPACES = b" \t\n\r\v\f"
_NO_BRACKETS = bytes.maketrans(b"[]", b"  ")
_CLOSED = re.compile(rb"\]\s*\Z")
_COMPONENT = {"c64": "f32", "c128": "f64"}


@attrs.frozen
class LongList:
    """The text of one array: a nested list of numbers, or plain words.

    Attributes:
        text: The text.
        is_words: Whether whitespace separates the numbers: there are no brackets.
        shape: The sizes of the lists, as far as the brackets and commas show; ``numbers`` finds
            lists of different sizes.
    """

    text: memoryview
    is_words: bool
    shape: tuple[int, ...]

    @classmethod
    def of(cls, text: memoryview, *, is_words: bool = False) -> LongList:
        """Returns the list that a text is.

        Raises:
            Mismatch: It is no list, a ragged one, or has a number without an end.
        """
        if is_words:
            count = sum(len(piece.split()) for piece in _pieces(text, _SPACES))
            return cls(text, is_words, (count,))
        return cls(text, is_words, _shape(text))

    def numbers(self) -> Iterator[list[Json]]:
        """Yields the elements in C order, some thousands at a time.

        Raises:
            Mismatch: The text is no list of numbers, or a ragged one.
        """
        first = 0
        for piece in _pieces(self.text, _SPACES if self.is_words else b","):
            if self.is_words:
                yield _values(b",".join(piece.split()))
                continue
            skeleton = piece.translate(None, _BEYOND_STRUCTURE)
            count = skeleton.count(b",") + (not skeleton.endswith(b","))
            _check_brackets(skeleton, self.shape, first, count)
            first += count
            yield _values_of(piece, count) if self.shape[-1] else []

    def elements(self, aval: Aval, index: int = 0, take: TakePlace = PrivatePlace) -> TypedBuffer:
        """Returns an array of this type.

        Args:
            aval: The type.
            index: The number of the array, for ``take``.
            take: Returns the memory for it.

        Raises:
            Mismatch: The list has another shape, or an element does not fit.
        """
        is_pairs = aval.dtype in _COMPONENT and self.shape == (*aval.shape, 2)
        if self.shape != aval.shape and not is_pairs:
            raise Mismatch(f"a list of shape {list(self.shape)}")
        row = BY_SHORT[_COMPONENT[aval.dtype]] if is_pairs else aval.row
        place, end = take(index, aval.nbytes), 0
        for values in self.numbers():
            piece = flat_bytes(convert(values, (len(values),), row))
            if end + len(piece) > aval.nbytes:
                raise Mismatch("a ragged list")
            place.write(end, piece)
            end += len(piece)
        if end < aval.nbytes:
            raise Mismatch("a ragged list")
        return TypedBuffer(aval, place.view(), None, place)


def _values_of(piece: bytes, count: int) -> list[Json]:
    """Returns the elements of a piece of nested lists.

    Raises:
        Mismatch: They are not ``count`` JSON values.
    """
    if not _is_misplaced(piece):
        body = piece.translate(_NO_BRACKETS)
        values = _values(body.removesuffix(b",") if piece.endswith(b",") else body)
        if len(values) == count:
            return values
    raise Mismatch(f"{_shown(piece)}, which is no JSON value")


def _is_misplaced(piece: bytes) -> bool:
    """Returns whether a bracket opens after a number or closes before one, as in 1[ and ]1."""
    if b"[" not in piece and b"]" not in piece:
        return False
    marks: Array = np.frombuffer(piece.translate(None, _SPACES), np.uint8)
    before, after = marks[:-1], marks[1:]
    opens = (after == ord("[")) & (before != ord("[")) & (before != ord(","))
    closes = (before == ord("]")) & (after != ord("]")) & (after != ord(","))
    return bool(np.any(opens | closes))


def _pieces(text: memoryview, separators: bytes) -> Iterator[bytes]:
    """Yields the text in pieces, each but the last of which ends with a separator.

    Of whitespace that is longer than a piece, one space is left.

    Raises:
        Mismatch: Separators are too far apart: something is no number.
    """
    cut = re.compile(b"[" + separators + b"]")
    start = 0
    while start < len(text):
        checkpoint()
        end = rest = start + PIECE_BYTES
        while (found := cut.search(text, rest, rest + _NUMBER_BYTES)) is None:
            if rest + _NUMBER_BYTES >= len(text):
                break
            if not bytes(text[rest : rest + _NUMBER_BYTES]).isspace():
                raise Mismatch(f"{_shown(text[end:])}, which is too long for a number")
            rest += _NUMBER_BYTES
            checkpoint()
        stop = found.end() if found is not None else len(text)
        yield bytes(text[start:end]) + b" " * (rest > end) + bytes(text[rest:stop])
        start = stop


def _shape(text: memoryview) -> tuple[int, ...]:
    """Returns the sizes of nested lists, from the numbers of commas and of closing brackets."""
    opened = bytes(text[:_NUMBER_BYTES]).translate(None, _SPACES)
    rank = len(opened) - len(opened.lstrip(b"["))
    if not rank or _CLOSED.search(text, max(0, len(text) - _NUMBER_BYTES)) is None:
        raise Mismatch(f"{_shown(text)}, which is no JSON value")
    ends, is_empty = [1] * (rank + 1), True  # ends[n]: how many elements end n lists or more
    for piece in _pieces(text, b","):
        skeleton = piece.translate(None, _BEYOND_STRUCTURE)
        is_empty = is_empty and len(skeleton) == len(piece.translate(None, _SPACES))
        for closed in range(rank + 1):
            ends[closed] += skeleton.count(b"]" * closed + b",")
    shape = [more // fewer for more, fewer in itertools.pairwise(ends)][::-1]
    if any(more % fewer for more, fewer in itertools.pairwise(ends)) or ends[rank] > 1:
        raise Mismatch("a ragged list")
    if is_empty and shape[-1] == 1:
        shape[-1] = 0
    return tuple(shape)


def _check_brackets(skeleton: bytes, shape: tuple[int, ...], first: int, count: int) -> None:
    """Checks that each element begins and ends as many lists as in an array of this shape.

    Args:
        skeleton: The brackets and commas of some elements.
        shape: The sizes of the lists.
        first: The number of the first of the elements.
        count: How many there are.

    Raises:
        Mismatch: One does not.
    """
    sizes = [max(size, 1) for size in shape]  # of an empty list, the brackets are its element
    marks: Array = np.frombuffer(skeleton, np.uint8)
    commas = marks == ord(",")
    element = np.cumsum(commas) - commas
    index = np.arange(first, first + count)
    opened, closed = np.zeros(count, np.int64), np.zeros(count, np.int64)
    size = 1
    for length in reversed(sizes):
        size *= length
        opened += index % size == 0
        closed += (index + 1) % size == 0
    for mark, expected in ((b"[", opened), (b"]", closed)):
        found = np.bincount(element[marks == mark[0]], minlength=count)
        if not np.array_equal(found, expected):
            raise Mismatch("a ragged list")


def _values(text: bytes) -> list[Json]:
    """Returns the elements of a list without its brackets.

    Raises:
        Mismatch: They are no JSON values.
    """
    try:
        values = parse_value(f"[{text.decode()}]")
    except (ValueError, RecursionError) as error:
        raise Mismatch(f"{_shown(text)}, which is no JSON value") from error
    assert isinstance(values, list)
    return values


def _shown(text: Bytes) -> str:
    return repr(bytes(text[:40])) + "..."
