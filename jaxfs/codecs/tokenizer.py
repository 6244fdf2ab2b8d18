"""Splits text into words at whitespace, except inside brackets and quotes.

The tokenizer keeps its position, so that text which arrives in many pieces is read once.  It steps
from one byte that matters to the next, which is quick where these are few, and after some hundred
of them reads whole blocks with numpy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxfs.codecs.pieces import BLOCK_BYTES, PIECE_BYTES, TEXT_BYTES, checkpoint
from jaxfs.errors import Invalid
from jaxfs.types.buffers import Bytes

Array = np.ndarray[Any, Any]

MAX_DEPTH = 64  # as many dimensions as numpy has; also keeps JSON's parser from recursing deeper
_GAP = re.compile(rb"[\n\S]")
_WORD = re.compile(rb'[\s\[\]{}"]')
_NESTED = re.compile(rb'[\[\]{}"]')
_STRING = re.compile(rb'["\\]')
_UNCOUNTED = re.compile(rb'[\n\[{"]')
_STEPS = 256  # bytes that are handled one by one, before blocks are
_SHORT_BYTES = 1 << 14  # text without brackets up to this length is split at once
_BYTES = np.arange(256)
_IS_SPACE = np.isin(_BYTES, list(b" \t\n\r\v\f"))
_NESTING = np.isin(_BYTES, list(b"[{")).astype(np.int8) - np.isin(_BYTES, list(b"]}"))
_NEWLINE, _QUOTE, _BACKSLASH = b'\n"\\'


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
        self._awaits_newline = True

    def line_ends(self, text: memoryview) -> Iterator[int]:
        """Yields the offset after each newline outside of words.

        It continues where the last iteration over a shorter ``text`` ended.
        """
        for _ in range(_STEPS):
            window_end = self._position + TEXT_BYTES
            match = self._next_byte().search(text, self._position, window_end)
            if match is None:
                if window_end >= len(text):
                    break
                self._position = window_end
                continue
            self._position = match.end()
            byte = match.group()
            if self._start is not None:
                self._step(byte, match.start())
            elif byte != b"\n":
                self._start = self._position = match.start()
            if byte == b"\n" and self._start is None:
                yield self._position
        else:
            yield from self._scan(text)
        self._position = max(self._position, len(text))

    def _scan(self, text: memoryview) -> Iterator[int]:
        """Does the same a block at a time; yields only the first newline after each word."""
        self._awaits_newline = True
        while self._position < len(text):
            checkpoint()
            begin = self._position
            data: Array = np.frombuffer(text[begin : begin + PIECE_BYTES], np.uint8)
            self._position = end = begin + len(data)
            gaps = self._gaps(data)
            newlines = np.flatnonzero(gaps & (data == _NEWLINE)) + begin
            for start, stop in self._words(gaps, begin, end):
                first = int(np.searchsorted(newlines, start))
                if self._awaits_newline and first < len(newlines) and newlines[first] < stop:
                    self._awaits_newline = False
                    yield int(newlines[first]) + 1

    def _words(self, gaps: Array, begin: int, end: int) -> Iterator[tuple[int, int]]:
        """Records the words that end in a block; yields the start and the end of each gap.

        Args:
            gaps: Which bytes of the block are between words.
            begin: Where the block begins.
            end: Where it ends.
        """
        if self._enough is not None and len(self.spans) >= self._enough:
            self._start = None if gaps[-1] else begin if self._start is None else self._start
            self._awaits_newline |= not gaps.all()
            yield begin, end  # later words are not recorded: a newline between any will do
            return
        edges = (np.flatnonzero(np.diff(gaps, prepend=self._start is None)) + begin).tolist()
        if self._start is None:
            yield begin, edges[0] if edges else end
        for edge, following in zip(edges, [*edges, end][1:], strict=True):
            if self._start is None:
                self._start = edge
            else:
                self.spans.append((self._start, edge))
                self._start, self._awaits_newline = None, True
                yield edge, following

    def _gaps(self, data: Array) -> Array:
        """Returns which bytes are between words, and moves the state to the end of the block."""
        quotes = data == _QUOTE
        skips_next = False
        if (backslashes := data == _BACKSLASH).any():
            escaped = _escaped(backslashes)
            quotes &= ~escaped[:-1]
            skips_next = bool(escaped[-1])
        in_string = (np.cumsum(quotes) + self._in_string) % 2 == 1
        depth = self._depth + np.cumsum(np.where(in_string, 0, _NESTING[data]), dtype=np.int32)
        depth -= np.minimum(np.minimum.accumulate(depth), 0)  # a bracket that closes nothing
        if np.max(depth) > MAX_DEPTH:
            raise Invalid(f"word {len(self.spans)}: lists nested deeper than {MAX_DEPTH}")
        self._depth, self._in_string = int(depth[-1]), bool(in_string[-1])
        self._position += skips_next and self._in_string
        return np.asarray(_IS_SPACE[data] & (depth == 0) & ~in_string)

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


def _escaped(backslashes: Array) -> Array:
    """Returns whether an odd number of backslashes is before each byte, and after them all."""
    index = np.arange(len(backslashes) + 1)
    last = np.maximum.accumulate(np.concatenate(([-1], np.where(backslashes, -1, index[:-1]))))
    return np.asarray((index - 1 - last) % 2 == 1)


def split(text: memoryview, limit: int) -> list[Bytes]:
    """Returns the words of a whole text, or its first ones where there are many.

    >>> split(memoryview(b"[1, 2] arrays/w 3"), 10)
    [b'[1, 2]', b'arrays/w', b'3']

    Args:
        text: The text.
        limit: Beyond so many words not all are returned, but more than ``limit``.

    Raises:
        Invalid: A bracket or a string is open at the end.
    """
    if len(text) <= _SHORT_BYTES and _NESTED.search(text) is None:
        return list(bytes(text).split())
    tokenizer = Tokenizer(enough=limit + 1)
    for end in range(BLOCK_BYTES, len(text), BLOCK_BYTES):
        for _ in tokenizer.line_ends(text[:end]):
            pass
        if len(tokenizer.spans) > limit:
            break
    else:
        tokenizer.finish(text)
    return [_word(text[start:end]) for start, end in tokenizer.spans]


def _word(text: memoryview) -> Bytes:
    return bytes(text) if len(text) <= _SHORT_BYTES else text
