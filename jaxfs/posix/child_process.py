"""What a process of the tracer does to itself: die with its parent, keep few files."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable

from jaxfs.posix import syscalls


def die_with_parent(parent: int) -> None:
    """Get SIGKILL when ``parent`` ends; at once where it has ended already."""
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def keep_only(fds: Iterable[int]) -> None:
    """Close every descriptor but these and standard input, output and error."""
    start = 3
    for fd in sorted(fds):
        os.closerange(start, fd)
        start = max(start, fd + 1)
    os.closerange(start, os.sysconf("SC_OPEN_MAX"))
