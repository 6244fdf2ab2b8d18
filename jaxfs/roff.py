r"""Manual pages: the few macros of man(7) that pages made from tables need.

Every function returns a part of a page; its arguments are plain text, all of which is escaped.

>>> print(entry("size", "in bytes"), end="")
.TP
\fBsize\fR
in bytes
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

REVISED = "2026-11-21"  # when the text of the pages was last changed
WIDTH = 72  # of the source, escapes come on top; mandoc(1) finds fault with more than 80
_ESCAPES = str.maketrans(
    {"\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti"}
)


def escape(line: str) -> str:
    """Returns what is shown as ``line``; a dot in front would make it a request."""
    text = line.translate(_ESCAPES)
    return f"\\&{text}" if text.startswith(".") else text


def header(name: str, section: int, made_by: str, manual: str) -> str:
    """Returns what is above and below each page; hyphenation is off, for names of files."""
    return f'.TH {name.upper()} {section} {REVISED} "{escape(made_by)}" "{escape(manual)}"\n.nh\n'


def heading(text: str) -> str:
    """Returns the heading of a section."""
    return f'.SH "{escape(text)}"\n'


def subheading(text: str) -> str:
    """Returns the heading of a subsection."""
    return f'.SS "{escape(text)}"\n'


def paragraphs(text: str) -> str:
    """Returns paragraphs; a blank line separates two, other line breaks are spaces."""
    return ".PP\n".join(map(_filled, text.split("\n\n")))


def entry(term: str, text: str, note: str = "") -> str:
    """Returns a term in bold with ``note`` beside it, and its description below."""
    beside = f" ({escape(note)})" if note else ""
    return f".TP\n\\fB{escape(term)}\\fR{beside}\n{_filled(text)}"


def nested(entries: Iterable[str]) -> str:
    """Returns entries indented below the one before them; nothing for none."""
    inner = "".join(entries)
    return f".RS\n{inner}.RE\n" if inner else ""


def verbatim(lines: Iterable[str]) -> str:
    """Returns lines that are shown as they are typed."""
    body = "".join(f"{escape(line)}\n" for line in lines)
    return f".RS 4\n.nf\n{body}.fi\n.RE\n"


def references(*pages: tuple[str, int]) -> str:
    """Returns the list that ends a page."""
    return ",\n".join(f"\\fB{escape(name)}\\fR({number})" for name, number in pages) + "\n"


def _filled(text: str) -> str:
    words = " ".join(text.split())
    lines = textwrap.wrap(words, WIDTH, break_long_words=False, break_on_hyphens=False)
    return "".join(f"{escape(line)}\n" for line in lines)
