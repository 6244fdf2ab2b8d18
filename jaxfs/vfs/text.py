"""The text formats of control files, those of cgroup v2.

See Linux Documentation/admin-guide/cgroup-v2.rst, "Interface Files": newline-separated,
space-separated, flat keyed, nested keyed.
"""

from __future__ import annotations

from collections.abc import Iterable


def flat_keyed(rows: Iterable[tuple[str, object]]) -> bytes:
    """``KEY VAL\\n`` a row; an empty value leaves the key alone on its line."""
    return "".join(f"{key} {value}".rstrip() + "\n" for key, value in rows).encode()


def line(value: object) -> bytes:
    """One value and its newline."""
    return f"{value}\n".encode()


def lines(values: Iterable[object]) -> bytes:
    """One value a line."""
    return "".join(f"{value}\n" for value in values).encode()
