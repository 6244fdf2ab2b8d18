"""Text as words: separated by whitespace, except inside brackets and quotes.

``[1, 2] arrays/w 3`` is three words.  The scanner keeps its place, so that text which arrives in
many pieces is looked at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from jaxfs.errors import Invalid

MAX_DEPTH = 64  # as many dimensions as numpy has; also keeps JSON's parser from recursing deeper
_GAP = re.compile(rb"[\n\S]")
_WORD = re.compile(rb'[\s\[\]{}"]')
_NESTED = re.compile(rb'[\[\]{}"]')
_STRING = re.compile(rb'["\\]')
_UNCOUNTED = re.compile(rb'[\n\[{"]')


class Tokenizer:
    """Finds words and line ends in text that grows.

    ``spans`` are the (start, end) of the complete words.  Beyond ``enough`` words, where given,
    plain ones are passed over without being recorded.
    """

    def __init__(self, enough: int | None = None) -> None:
        self.spans: list[tuple[int, int]] = []
        self._enough = enough
        self._position = 0
        self._start: int | None = None  # of the word under way
        self._depth = 0
        self._in_string = False

    def line_ends(self, text: memoryview) -> Iterator[int]:
        """The offset after each newline that stands outside of words, from where the last ended."""
        while match := self._pattern().search(text, self._position):
            self._position = match.end()
            byte = match.group()
            if self._start is not None:
                self._step(byte, match.start())
            elif byte != b"\n":
                self._start = self._position = match.start()
            if byte == b"\n" and self._start is None:
                yield self._position
        self._position = max(self._position, len(text))

    def finish(self, text: memoryview) -> None:
        """The text ends here.  Raises Invalid inside a bracket or a string."""
        for _ in self.line_ends(text):
            pass
        if self._start is None:
            return
        if self._depth or self._in_string:
            word = bytes(text[self._start : self._start + 20])
            raise Invalid(f"word {len(self.spans)}: {word!r}... is not closed before the data ends")
        self.spans.append((self._start, len(text)))

    def _pattern(self) -> re.Pattern[bytes]:
        """The bytes that matter next."""
        if self._in_string:
            return _STRING
        if self._depth:
            return _NESTED
        if self._start is not None:
            return _WORD
        return _GAP if self._enough is None or len(self.spans) < self._enough else _UNCOUNTED

    def _step(self, byte: bytes, at: int) -> None:
        """One such byte within a word."""
        if self._in_string:
            self._in_string = byte != b'"'
            self._position += byte == b"\\"  # the byte after it is escaped
        elif byte == b'"':
            self._in_string = True
        elif byte in b"[{":
            self._deepen()
        elif byte in b"]}":
            self._depth = max(self._depth - 1, 0)
        elif self._start is not None:
            self.spans.append((self._start, at))
            self._start = None

    def _deepen(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Invalid(f"word {len(self.spans)}: lists nested deeper than {MAX_DEPTH}")


def split(text: memoryview) -> list[bytes]:
    """The words of a whole text.  Raises Invalid for an open bracket or string."""
    if _NESTED.search(text) is None:
        return bytes(text).split()
    words = Tokenizer()
    words.finish(text)
    return [bytes(text[start:end]) for start, end in words.spans]
