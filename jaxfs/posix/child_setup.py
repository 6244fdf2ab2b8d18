"""What a child process does to itself at its start.

It imports little: a worker calls it before it gives up its rights, see
``engine.worker.user_main``.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable

from jaxfs.posix import syscalls


def die_with_parent(parent: int) -> None:
    """Makes the kernel send this process SIGKILL when ``parent`` ends.

    Exits at once if the parent has ended before the request reached the kernel.
    """
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def keep_only(fds: Iterable[int]) -> None:
    """Closes every descriptor but these and standard input, output and error."""
    start = 3
    for fd in sorted(fds):
        os.closerange(start, fd)
        start = max(start, fd + 1)
    os.closerange(start, os.sysconf("SC_OPEN_MAX"))
