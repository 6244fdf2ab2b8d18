"""Text input: one word an argument.

A word is a JSON number, ``true``, ``false``, ``nan``, ``inf``; a nested list, which may contain
whitespace; or a reference to an array elsewhere in the tree, or to several.  See ``literals`` for
what numbers may be.  Where the program has one input, of shape [n], n > 1 plain numbers are its
elements: ``1 2 3`` for f32[3] is ``[1, 2, 3]``, because it can mean nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from jaxfs.codecs.diagnostics import refuse, refuse_count
from jaxfs.codecs.literals import buffer_of
from jaxfs.codecs.tokenizer import Tokenizer, split
from jaxfs.types.buffers import Argument, Parameter, Reference

_PATH = r"(?:arrays|results)/[A-Za-z0-9_][A-Za-z0-9_.-]*"
_REFERENCE = re.compile(rf"{_PATH}\Z")
_REFERENCES = re.compile(rb"(?<!\S)" + _PATH.encode() + rb"(?!\S)")
MAX_PATH = 512  # bytes
_ONE: Mapping[str, int] = {}
_NOT_NUMBERS = re.compile(rb'[,:/\[\]{}"]')


def references(data: memoryview) -> frozenset[str]:
    """The words in ``data`` that look like references."""
    return frozenset(match.group().decode() for match in _REFERENCES.finditer(data))


def decode(
    data: memoryview, params: Sequence[Parameter], counts: Mapping[str, int] = _ONE
) -> list[Argument]:
    """The inputs, in signature order; references are not resolved.  Raises Invalid.

    ``counts`` tells of references how many arrays they stand for, where that is not one.
    """
    words = split(data)
    if is_vector([len(param.aval.shape) for param in params], words, data):
        words = [b"[" + b",".join(words) + b"]"]
    leaves = [leaf for word in words for leaf in _leaves(word, counts)]
    if len(leaves) != len(params):
        raise refuse_count(params, len(leaves))
    return [
        leaf if isinstance(leaf, Reference) else _argument(i, p, leaf)
        for i, (p, leaf) in enumerate(zip(params, leaves, strict=True))
    ]


def _leaves(word: bytes, counts: Mapping[str, int]) -> list[bytes | Reference]:
    """A word, or the references to the arrays that it stands for."""
    path = word.decode(errors="replace")
    if not _REFERENCE.match(path):
        return [word]
    return [Reference(path, leaf) for leaf in range(counts.get(path, 1))]


def is_vector(ranks: Sequence[int], words: Sequence[bytes], data: memoryview) -> bool:
    """Whether the words are the elements of the only input; ``ranks`` are those of all inputs."""
    return len(words) > 1 and list(ranks) == [1] and _NOT_NUMBERS.search(data) is None


def _argument(index: int, param: Parameter, word: bytes) -> Argument:
    try:
        text = word.decode("utf-8")
    except UnicodeDecodeError as error:
        raise refuse(index, param, f"{word[:20]!r}, which is not UTF-8 text") from error
    return buffer_of(index, param, text)


class TextFrames:
    """The end of one request: the newline after its last word; a line of its own without inputs.

    ``count`` says how many arrays a reference stands for.
    """

    def __init__(
        self, params: Sequence[Parameter], count: Callable[[str], int] = lambda path: 1
    ) -> None:
        self._count = len(params)
        self._words = Tokenizer(enough=self._count)
        self._count_of = count
        self._seen = 0  # words that were counted
        self._more = 0  # arrays that these stand for, beyond one each

    def needed(self, buffer: memoryview) -> int | None:
        """Raises Invalid for lists nested too deep."""
        for end in self._words.line_ends(buffer):
            if self._arrays(buffer) >= self._count:
                return end
        return None

    def _arrays(self, buffer: memoryview) -> int:
        spans = self._words.spans
        for start, stop in spans[self._seen :]:
            word = bytes(buffer[start : min(stop, start + MAX_PATH)]).decode(errors="replace")
            self._more += self._count_of(word) - 1 if _REFERENCE.match(word) else 0
        self._seen = len(spans)
        return len(spans) + self._more
