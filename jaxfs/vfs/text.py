"""The text formats of control files, those of cgroup v2.

See Linux Documentation/admin-guide/cgroup-v2.rst, "Interface Files": newline-separated,
space-separated, flat keyed, nested keyed.
"""

from __future__ import annotations

from collections.abc import Iterable


def flat_keyed(rows: Iterable[tuple[str, object]]) -> bytes:
    r"""Returns a line with key and value for each row; an empty value leaves the key alone.

    >>> flat_keyed([("calls", 3), ("errno", "")])
    b'calls 3\nerrno\n'
    """
    return "".join(f"{key} {value}".rstrip() + "\n" for key, value in rows).encode()


def line(value: object) -> bytes:
    r"""Returns one value and its newline.

    >>> line("ready")
    b'ready\n'
    """
    return f"{value}\n".encode()


def lines(values: Iterable[object]) -> bytes:
    r"""Returns a line for each value.

    >>> lines(["f32", "i32"])
    b'f32\ni32\n'
    """
    return "".join(f"{value}\n" for value in values).encode()
