"""Names of inputs and outputs, as they can stand in a file name.

JAX writes key paths (``p['w'][0]``, ``result.k``), MLIR text has ``%x``.  Both become dotted words:
``p.w.0``, ``k``, ``x``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

MAX_NAME = 100  # characters; longer ones are of no use in a file name

_KEY = re.compile(r"\[(?:<flat index )?'?\"?([^\]'\">]*)\"?'?>?\]")
_FORBIDDEN = re.compile(r"[^A-Za-z0-9_.]+")
_MAIN = re.compile(r"func\.func\s+(?:public\s+)?@main\s*\(")
_TOKEN = re.compile(
    r'"(?:[^"\\\n]|\\.)*"|//[^\n]*|->|%(?P<name>[A-Za-z0-9_$.-]+)\s*:|[(\[{<]|[)\]}>]'
)
_OPENING, _CLOSING = frozenset("([{<"), frozenset(")]}>")
_UNNAMED = re.compile(r"(arg|args_)?\d+\Z")


def dotted(path: str) -> str:
    """``p['w'][0]`` -> ``p.w.0``; empty where nothing usable is left."""
    name = _KEY.sub(r".\1", path)
    name = re.sub(r"\.{2,}", ".", _FORBIDDEN.sub("_", name)).strip("._")
    return name if len(name) <= MAX_NAME else ""


def result_name(path: str) -> str:
    """The name of an output: ``result['a']`` -> ``a``; ``result`` and ``result.1`` stay."""
    name = dotted(path)
    rest = name.removeprefix("result.")
    return rest if rest[:1].isalpha() or rest[:1] == "_" else name


def unique(names: Iterable[str]) -> list[str]:
    """The names, the second of two equal ones with ``_2`` behind it."""
    taken: set[str] = set()
    return [_claim(name, taken) for name in names]


def _claim(name: str, taken: set[str]) -> str:
    if not name:
        return name
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    taken.add(candidate)
    return candidate


def argument_names(text: str) -> list[str]:
    """The names ``main``'s arguments have in the text (the parser forgets them).

    Empty for those the printer made up (``%0``, ``%arg0``).
    """
    start = _MAIN.search(text)
    names, depth = list[str](), 0
    for match in _TOKEN.finditer(text, start.end()) if start else ():
        if match["name"] is not None and depth == 0:
            names.append("" if _UNNAMED.match(match["name"]) else dotted(match["name"]))
        elif match[0] in _OPENING:
            depth += 1
        elif match[0] in _CLOSING:
            depth -= 1
            if depth < 0:  # the end of the argument list
                break
    return names
