"""Text input: one word an argument.

A word is a value of JSON (RFC 8259) or ``nan``, ``inf``; a nested list, which may contain
whitespace; or a reference to one or several arrays of the mount.  ``literals`` has the rules for
numbers.  If the program has one input, of shape [n], then n > 1 plain numbers are its elements:
``1 2 3`` for f32[3] is ``[1, 2, 3]``, because it can mean nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from jaxfs.codecs.diagnostics import mismatch, wrong_count
from jaxfs.codecs.foreign_files import BYTE_ORDER_MARK, explained
from jaxfs.codecs.literals import Mismatch, buffer_of
from jaxfs.codecs.long_lists import LONG_BYTES, LongList
from jaxfs.codecs.pieces import TEXT_BYTES, blocks, checkpoint
from jaxfs.codecs.tokenizer import Tokenizer, split
from jaxfs.errors import Invalid
from jaxfs.types.buffers import (
    Argument,
    Bytes,
    Parameter,
    PrivatePlace,
    Reference,
    TakePlace,
    TypedBuffer,
)

_PATH = r"(?:arrays|results)/[A-Za-z0-9_][A-Za-z0-9_.-]*"
_REFERENCE = re.compile(rf"{_PATH}\Z")
_REFERENCES = re.compile(rb"(?<!\S)" + _PATH.encode() + rb"(?!\S)")
MAX_PATH = 512  # bytes
MAX_REFERENCES = 10_000  # different ones in a request; a program has fewer inputs
_SURPLUS_WORDS = 1000  # how many more than the inputs are counted exactly, for the message
_ONE_EACH: Mapping[str, int] = {}
_NOT_NUMBERS = re.compile(rb'[,:/\[\]{}"]')
_TWO_WORDS = re.compile(rb"\s*+\S++\s++\S")


def one_array(_path: str) -> int:
    """Returns 1: what a reference refers to if nothing else is known."""
    return 1


def references(data: memoryview) -> frozenset[str]:
    """Returns the words in ``data`` that have the form of references.

    >>> sorted(references(memoryview(b"1 arrays/w [2] results/7.0")))
    ['arrays/w', 'results/7.0']

    Raises:
        Invalid: They are too many, or the data is not text.
    """
    found, data = set[bytes](), without_mark(data)
    for start in range(0, len(data), TEXT_BYTES):
        checkpoint()
        text = bytes(data[start : start + TEXT_BYTES + MAX_PATH])
        if b"\0" in text:
            error = Invalid(
                f"byte {start + text.index(0)} is zero, and text has none: a sparse or a raw file? "
                "Write raw bytes to a name that ends in .raw"
            )
            raise explained(error, data)
        if b"arrays/" in text or b"results/" in text:
            found |= _references_from(data, start)
        if len(found) > MAX_REFERENCES:
            raise Invalid(f"more than {MAX_REFERENCES} different references in one request")
    return frozenset(path.decode() for path in found)


def _references_from(data: memoryview, start: int) -> set[bytes]:
    """Returns those that begin in the block at ``start``; one may end in the next block."""
    end = start + TEXT_BYTES
    cut = min(end + MAX_PATH, len(data))
    return {
        match.group()
        for match in _REFERENCES.finditer(data, start, cut)
        if match.start() < end and (match.end() < cut or cut == len(data))
    }


def decode(
    data: memoryview,
    params: Sequence[Parameter],
    counts: Mapping[str, int] = _ONE_EACH,
    take: TakePlace = PrivatePlace,
) -> list[Argument]:
    """Returns the inputs, in signature order; references are not resolved.

    Args:
        data: The text.
        params: The parameters of the program.
        counts: How many arrays a reference refers to, if not one.
        take: Returns the memory for a long array.

    Raises:
        Invalid: The text does not fit the parameters.
    """
    text = without_mark(data)
    try:
        return _arguments(text, params, counts, take)
    except Invalid as error:
        raise explained(error, text) from error


def without_mark(data: memoryview) -> memoryview:
    """Returns text without the byte order mark that Windows programs begin it with."""
    return data[len(BYTE_ORDER_MARK) :] if data[: len(BYTE_ORDER_MARK)] == BYTE_ORDER_MARK else data


def _arguments(
    data: memoryview, params: Sequence[Parameter], counts: Mapping[str, int], take: TakePlace
) -> list[Argument]:
    if is_vector([len(param.aval.shape) for param in params], data):
        return [_vector(params[0], data, take)]
    limit = len(params) + _SURPLUS_WORDS
    words = split(data, limit)
    paths = [reference_in(word) for word in words]
    found = sum(1 if path is None else counts.get(path, 1) for path in paths)
    if len(words) > limit:
        raise wrong_count(params, f"more than {limit}")
    if found != len(params):  # before there is an object for each
        raise wrong_count(params, found)
    arguments = list[Argument]()
    for word, path in zip(words, paths, strict=True):
        if path is None:
            arguments.append(_argument(len(arguments), params[len(arguments)], word, take))
        else:
            arguments += [Reference(path, leaf) for leaf in range(counts.get(path, 1))]
    return arguments


def reference_in(word: Bytes) -> str | None:
    """Returns the path that a word is, or None if it is a value.

    >>> reference_in(b"arrays/w"), reference_in(b"[1]")
    ('arrays/w', None)
    """
    if len(word) > MAX_PATH:
        return None
    path = bytes(word).decode(errors="replace")
    return path if _REFERENCE.match(path) else None


def is_vector(ranks: Sequence[int], data: memoryview) -> bool:
    """Returns whether the words are the elements of the only input.

    Args:
        ranks: The rank of each input.
        data: The text.
    """
    if list(ranks) != [1] or _TWO_WORDS.match(data, 0, TEXT_BYTES) is None:
        return False
    return all(_NOT_NUMBERS.search(block) is None for block in blocks(data, TEXT_BYTES))


def _vector(param: Parameter, data: memoryview, take: TakePlace) -> TypedBuffer:
    if len(data) > LONG_BYTES:
        return _long_list(0, param, data, take, is_words=True)
    return _argument(0, param, b"[" + b",".join(bytes(data).split()) + b"]", take)


def _argument(index: int, param: Parameter, word: Bytes, take: TakePlace) -> TypedBuffer:
    if len(word) > LONG_BYTES:
        return _long_list(index, param, memoryview(word), take)
    try:
        text = bytes(word).decode("utf-8")
    except UnicodeDecodeError as error:
        raise mismatch(index, param, f"{bytes(word[:20])!r}, which is not UTF-8 text") from error
    return buffer_of(index, param, text)


def _long_list(
    index: int,
    param: Parameter,
    text: memoryview,
    take: TakePlace,
    *,
    is_words: bool = False,
) -> TypedBuffer:
    try:
        return LongList.of(text, is_words=is_words).elements(param.aval, index, take)
    except Mismatch as error:
        raise mismatch(index, param, str(error)) from error


class TextFrames:
    """Finds the end of one request: the newline after its last word, or the first without inputs.

    Args:
        params: The parameters of the program.
        count: Returns how many arrays a reference refers to.
    """

    def __init__(
        self, params: Sequence[Parameter], count: Callable[[str], int] = one_array
    ) -> None:
        self._count = len(params)
        self._tokenizer = Tokenizer(enough=self._count)
        self._count_of = count
        self._seen = 0  # words that were counted
        self._more = 0  # arrays of these, beyond one each

    def needed(self, buffer: memoryview) -> int | None:
        """Returns the request's length in bytes; None while ``buffer`` is too short to know.

        Raises:
            Invalid: Lists are nested too deep.
        """
        for end in self._tokenizer.line_ends(buffer):
            if self._arrays(buffer) >= self._count:
                return end
        return None

    def _arrays(self, buffer: memoryview) -> int:
        spans = self._tokenizer.spans
        for start, stop in spans[self._seen :]:
            path = reference_in(buffer[start:stop])
            self._more += self._count_of(path) - 1 if path is not None else 0
        self._seen = len(spans)
        return len(spans) + self._more
