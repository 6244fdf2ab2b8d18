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
from jaxfs.codecs.literals import buffer_of
from jaxfs.codecs.tokenizer import Tokenizer, split
from jaxfs.types.buffers import Argument, Parameter, Reference

_PATH = r"(?:arrays|results)/[A-Za-z0-9_][A-Za-z0-9_.-]*"
_REFERENCE = re.compile(rf"{_PATH}\Z")
_REFERENCES = re.compile(rb"(?<!\S)" + _PATH.encode() + rb"(?!\S)")
MAX_PATH = 512  # bytes
_ONE_EACH: Mapping[str, int] = {}
_NOT_NUMBERS = re.compile(rb'[,:/\[\]{}"]')


def one_array(_path: str) -> int:
    """Returns 1: what a reference refers to if nothing else is known."""
    return 1


def references(data: memoryview) -> frozenset[str]:
    """Returns the words in ``data`` that have the form of references.

    >>> sorted(references(memoryview(b"1 arrays/w [2] results/7.0")))
    ['arrays/w', 'results/7.0']
    """
    return frozenset(match.group().decode() for match in _REFERENCES.finditer(data))


def decode(
    data: memoryview, params: Sequence[Parameter], counts: Mapping[str, int] = _ONE_EACH
) -> list[Argument]:
    """Returns the inputs, in signature order; references are not resolved.

    Args:
        data: The text.
        params: The parameters of the program.
        counts: How many arrays a reference refers to, if not one.

    Raises:
        Invalid: The text does not fit the parameters.
    """
    words = split(data)
    if is_vector([len(param.aval.shape) for param in params], words, data):
        words = [b"[" + b",".join(words) + b"]"]
    leaves = [leaf for word in words for leaf in _leaves(word, counts)]
    if len(leaves) != len(params):
        raise wrong_count(params, len(leaves))
    return [
        leaf if isinstance(leaf, Reference) else _argument(i, p, leaf)
        for i, (p, leaf) in enumerate(zip(params, leaves, strict=True))
    ]


def _leaves(word: bytes, counts: Mapping[str, int]) -> list[bytes | Reference]:
    """Returns the word, or a reference to each array that it refers to."""
    path = word.decode(errors="replace")
    if not _REFERENCE.match(path):
        return [word]
    return [Reference(path, leaf) for leaf in range(counts.get(path, 1))]


def is_vector(ranks: Sequence[int], words: Sequence[bytes], data: memoryview) -> bool:
    """Returns whether the words are the elements of the only input.

    Args:
        ranks: The rank of each input.
        words: The words of ``data``.
        data: The text.
    """
    return len(words) > 1 and list(ranks) == [1] and _NOT_NUMBERS.search(data) is None


def _argument(index: int, param: Parameter, word: bytes) -> Argument:
    try:
        text = word.decode("utf-8")
    except UnicodeDecodeError as error:
        raise mismatch(index, param, f"{word[:20]!r}, which is not UTF-8 text") from error
    return buffer_of(index, param, text)


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
            word = bytes(buffer[start : min(stop, start + MAX_PATH)]).decode(errors="replace")
            self._more += self._count_of(word) - 1 if _REFERENCE.match(word) else 0
        self._seen = len(spans)
        return len(spans) + self._more
