"""Names of inputs and outputs that are fit for a file name.

JAX writes key paths (``p['w'][0]``, ``result.k``), MLIR text has ``%x``.  Both become dotted words:
``p.w.0``, ``k``, ``x``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

MAX_NAME = 100  # characters; longer ones are of no use in a file name

_KEY = re.compile(r"\[(?:<flat index )?'?\"?([^\]'\">]*)\"?'?>?\]")
_FORBIDDEN = re.compile(r"[^A-Za-z0-9_.]+")
_FUNCTION = r'func\.func\s+(?:public\s+|private\s+)?@"?{}"?\s*\('
_TOKEN = re.compile(
    r'"(?:[^"\\\n]|\\.)*"|//[^\n]*|->|%(?P<name>[A-Za-z0-9_$.-]+)\s*:|[(\[{<]|[)\]}>]'
)
_OPENING, _CLOSING = frozenset("([{<"), frozenset(")]}>")
_UNNAMED = re.compile(r"(arg|args_)?\d+\Z")


def dotted(path: str) -> str:
    """Returns a key path as a dotted name, empty if nothing usable is left.

    >>> dotted("p['w'][0]")
    'p.w.0'
    """
    name = _KEY.sub(r".\1", path)
    name = re.sub(r"\.{2,}", ".", _FORBIDDEN.sub("_", name)).strip("._")
    return name if len(name) <= MAX_NAME else ""


def result_name(path: str) -> str:
    """Returns the name of an output; ``result`` is left out before a name.

    >>> result_name("result['a']"), result_name("result[1]"), result_name("result")
    ('a', 'result.1', 'result')
    """
    name = dotted(path)
    rest = name.removeprefix("result.")
    return rest if rest[:1].isalpha() or rest[:1] == "_" else name


def unique(names: Iterable[str]) -> list[str]:
    """Returns the names, all different; empty ones stay empty.

    >>> unique(["x", "x", ""])
    ['x', 'x_2', '']
    """
    taken: set[str] = set()
    return [_claim(name, taken) for name in names]


def _claim(name: str, taken: set[str]) -> str:
    """Returns the name, with the lowest number that makes it differ from those in ``taken``."""
    if not name:
        return name
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    taken.add(candidate)
    return candidate


def argument_names(text: str, entry: str = "main") -> list[str]:
    """Returns the names of the entry's arguments in the text, which MLIR's parser drops.

    A name that the printer made up (``%0``, ``%arg0``) is empty.

    >>> argument_names("func.func @main(%weights: tensor<2xf32>, %arg1: tensor<f32>)")
    ['weights', '']
    """
    start = re.search(_FUNCTION.format(re.escape(entry)), text)
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
