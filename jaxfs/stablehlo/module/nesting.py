"""The nesting depth of a text, counted before a parser recurses into it.

MLIR's parser recurses: attributes nested 20,000 deep or 500 ``if`` within one another overflow its
stack.  Counting brackets takes milliseconds and needs no parser.
"""

from __future__ import annotations

import re

from jaxfs.errors import Invalid

MAX_REGIONS = 200  # levels of operations within operations
MAX_BRACKETS = 2 * MAX_REGIONS + 20  # the generic form writes ``({`` for one level

# An unclosed string ends with its line, or the next quote would be tried as the start of another.
_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*+"?|//[^\n]*|->|[(\[{<]|[)\]}>]')
_SHALLOW = 40  # levels that need no exact count; programs have some ten
_OTHERS = bytes(set(range(256)) - set(b"([{<)]}>"))
_ROUND = bytes.maketrans(b"[{<]}>", b"((()))")


def check_nesting(text: str) -> None:
    """Checks that brackets nest at most ``MAX_BRACKETS`` deep.

    Raises:
        Invalid: They nest deeper; the message has the line.
    """
    if not _is_shallow(text):
        _check_each(text)


def _is_shallow(text: str) -> bool:
    """Returns True if a text surely nests little, in a fraction of the time of a count.

    Pairs of brackets with nothing between them are removed, ``_SHALLOW`` times.
    """
    if "\\" in text or "//" in text:
        return False
    outside, inside = text.split('"')[::2], text.split('"')[1::2]
    if any("\n" in string for string in inside):
        return False
    brackets = " ".join(outside).replace("->", "").encode().translate(_ROUND, _OTHERS)
    for _ in range(_SHALLOW):
        if not brackets:
            return True
        brackets = brackets.replace(b"()", b"")
    return False


def _check_each(text: str) -> None:
    """Counts bracket by bracket.

    Brackets in strings and comments, and the one in an arrow, do not count.
    """
    depth = 0
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token in "([{<":
            depth += 1
            if depth > MAX_BRACKETS:
                line = text.count("\n", 0, match.start()) + 1
                raise Invalid(f"line {line}: nested over {MAX_REGIONS} deep; flatten the program")
        elif token in ")]}>":
            depth = max(0, depth - 1)
