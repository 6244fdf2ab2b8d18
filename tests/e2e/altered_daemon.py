"""The daemon with a fault or a limit put in, which no option can do.

Run as ``python altered_daemon.py ALTERATION '<json>'`` instead of ``python -m jaxfs '<json>'``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from jaxfs.front import main
from jaxfs.fuse import session
from jaxfs.vfs.mount import Mount
from jaxfs.vfs.vfs import Vfs

FAULTS = ("lookup", "forget", "listing", "count_listed", "open", "release", "unlink")


def _fault(owner: type, name: str) -> Callable[[], None]:
    """Make a method raise what no handler expects."""

    def method(self: object, *args: Any, **kwargs: Any) -> Any:
        raise ZeroDivisionError(f"a fault put into {name}")

    return lambda: setattr(owner, name, method)


def _short_limit() -> None:
    setattr(session, "wait_limit_s", lambda: 0.5)  # noqa: B010  # the kernel's least is 15 s


ALTERATIONS: dict[str, Callable[[], None]] = {
    "limit": _short_limit,
    "space": _fault(Mount, "space"),
    **{name: _fault(Vfs, name) for name in FAULTS},
}

if __name__ == "__main__":
    ALTERATIONS[sys.argv[1]]()
    sys.exit(main.main(sys.argv[2]))
