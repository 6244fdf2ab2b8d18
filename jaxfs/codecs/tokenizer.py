"""Splits text into words at whitespace, except inside brackets and quotes.

The tokenizer keeps its position, so that text which arrives in many pieces is read once.
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

    Args:
        enough: After so many words plain ones are skipped and not recorded; None for no limit.

    Attributes:
        spans: The (start, end) of each complete word, as offsets in the text.
    """

    def __init__(self, enough: int | None = None) -> None:
        self.spans: list[tuple[int, int]] = []
        self._enough = enough
        self._position = 0
        self._start: int | None = None  # of the incomplete word
        self._depth = 0
        self._in_string = False

    def line_ends(self, text: memoryview) -> Iterator[int]:
        """Yields the offset after each newline outside of words.

        It continues where the last iteration over a shorter ``text`` ended.
        """
        while match := self._next_byte().search(text, self._position):
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
        """Ends the text and completes its last word.

        Raises:
            Invalid: A bracket or a string is open.
        """
        for _ in self.line_ends(text):
            pass
        if self._start is None:
            return
        if self._depth or self._in_string:
            word = bytes(text[self._start : self._start + 20])
            raise Invalid(f"word {len(self.spans)}: {word!r}... is not closed before the data ends")
        self.spans.append((self._start, len(text)))

    def _next_byte(self) -> re.Pattern[bytes]:
        """Returns a pattern of the bytes that matter in the present state."""
        if self._in_string:
            return _STRING
        if self._depth:
            return _NESTED
        if self._start is not None:
            return _WORD
        return _GAP if self._enough is None or len(self.spans) < self._enough else _UNCOUNTED

    def _step(self, byte: bytes, at: int) -> None:
        """Handles such a byte within a word."""
        if self._in_string:
            self._in_string = byte != b'"'
            self._position += byte == b"\\"  # the byte after it is escaped
        elif byte == b'"':
            self._in_string = True
        elif byte in b"[{":
            self._depth += 1
            if self._depth > MAX_DEPTH:
                raise Invalid(f"word {len(self.spans)}: lists nested deeper than {MAX_DEPTH}")
        elif byte in b"]}":
            self._depth = max(self._depth - 1, 0)
        elif self._start is not None:
            self.spans.append((self._start, at))
            self._start = None


def split(text: memoryview) -> list[bytes]:
    """Returns the words of a whole text.

    >>> split(memoryview(b"[1, 2] arrays/w 3"))
    [b'[1, 2]', b'arrays/w', b'3']

    Raises:
        Invalid: A bracket or a string is open at the end.
    """
    if _NESTED.search(text) is None:
        return bytes(text).split()
    tokenizer = Tokenizer()
    tokenizer.finish(text)
    return [bytes(text[start:end]) for start, end in tokenizer.spans]
