"""Recognizes bytecode of another Python, which a pickled function holds.

Python does not check bytecode: of another version it breaks where it runs, or crashes.  cloudpickle
writes no version, but code objects have 16 parts before Python 3.11 and 18 since, and the number of
the instruction RESUME, which every function has since 3.11, changed with most later versions.
"""

from __future__ import annotations

import dis
import sys
import types
from typing import Any

from jaxfs.errors import Invalid

_PARTS = 18
_CODE = 6  # its place among the parts
_FIRST = 16  # instructions among which RESUME is
_RESUME = {151: "3.11 or 3.12", 149: "3.13", 128: "3.14"}
_HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def make_code(*parts: Any) -> types.CodeType:
    """Returns the code object with these parts.

    Raises:
        Invalid: Another version of Python wrote them; the message has both.
    """
    writer = _other_version(parts)
    if writer:
        raise Invalid(
            f"the pickle was written by {writer}, and jaxfs runs Python {_HERE}: a pickled "
            f"function is bytecode, which only the same version runs; pickle it with Python "
            f"{_HERE}, or export it with jax.export"
        )
    return types.CodeType(*parts)


def _other_version(parts: tuple[Any, ...]) -> str:
    """Returns which Python wrote a code object if it is another one, else an empty string."""
    if len(parts) != _PARTS:
        return "Python 3.10 or older" if len(parts) < _PARTS else "a newer Python"
    code = parts[_CODE]
    if not isinstance(code, bytes):
        return ""
    operations = code[::2]
    if dis.opmap["RESUME"] not in operations[:_FIRST]:
        found = [name for number, name in _RESUME.items() if number in operations[:_FIRST]]
        return f"Python {found[0]}" if found else "another version of Python"
    is_known = all(not dis.opname[number].startswith("<") for number in operations)
    return "" if is_known else "another version of Python"
