"""What a process of the tracer does to itself: die with its parent, gain no rights, keep few files.

Linux only; prctl has no place in Python's standard library.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
from collections.abc import Iterable
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_STACK_BYTES = 64 << 20  # MLIR recurses; the kernel keeps 128 MiB free below the stack
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int) -> None:
    """Get SIGKILL when ``parent`` ends; at once where it has ended already."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def drop_privileges(memory_bytes: int) -> None:
    """No setuid program can be started, no core is dumped; the stack may grow, memory less so.

    Where the machine is out of memory all the same, this process goes before any other.
    """
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_STACK)
    stack = _STACK_BYTES if hard == resource.RLIM_INFINITY else min(_STACK_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_STACK, (stack, hard))
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    with contextlib.suppress(OSError):  # /proc may be hidden in a container
        Path("/proc/self/oom_score_adj").write_text("1000")


def keep_only(fds: Iterable[int]) -> None:
    """Close every descriptor but these and standard input, output and error."""
    start = 3
    for fd in sorted(fds):
        os.closerange(start, fd)
        start = max(start, fd + 1)
    os.closerange(start, os.sysconf("SC_OPEN_MAX"))


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")
