"""Text input: one word an argument.

A word is a JSON number, ``true``, ``false``, ``nan``, ``inf``; a nested list, which may contain
whitespace; or a reference to an array elsewhere in the tree.  See ``literals`` for what numbers may
be.  Where the program has one input, of shape [n], n > 1 plain numbers are its elements: ``1 2 3``
for f32[3] is ``[1, 2, 3]``, because it can mean nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from jaxfs.codecs.buffers import Argument, Parameter, Reference
from jaxfs.codecs.checks import refuse, refuse_count
from jaxfs.codecs.literals import buffer_of
from jaxfs.codecs.words import Words, split

_REFERENCE = re.compile(r"(?:arrays|results)/[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")
_NOT_NUMBERS = re.compile(rb'[,:/\[\]{}"]')


def decode(data: memoryview, params: Sequence[Parameter]) -> list[Argument]:
    """The inputs, in signature order; references are not resolved.  Raises Invalid."""
    words = split(data)
    if _is_vector(params, words, data):
        words = [b"[" + b",".join(words) + b"]"]
    if len(words) != len(params):
        raise refuse_count(params, len(words))
    return [_argument(i, p, word) for i, (p, word) in enumerate(zip(params, words, strict=True))]


def _is_vector(params: Sequence[Parameter], words: list[bytes], data: memoryview) -> bool:
    return (
        len(words) > 1
        and len(params) == 1
        and len(params[0].aval.shape) == 1
        and _NOT_NUMBERS.search(data) is None
    )


def _argument(index: int, param: Parameter, word: bytes) -> Argument:
    try:
        text = word.decode("utf-8")
    except UnicodeDecodeError as error:
        raise refuse(index, param, f"{word[:20]!r}, which is not UTF-8 text") from error
    return Reference(text) if _REFERENCE.match(text) else buffer_of(index, param, text)


class Frames:
    """The end of one request: the newline after its last word; a line of its own without inputs."""

    def __init__(self, params: Sequence[Parameter]) -> None:
        self._count = len(params)
        self._words = Words(enough=self._count)

    def needed(self, buffer: memoryview) -> int | None:
        """Raises Invalid for lists nested too deep."""
        for end in self._words.line_ends(buffer):
            if len(self._words.spans) >= self._count:
                return end
        return None
