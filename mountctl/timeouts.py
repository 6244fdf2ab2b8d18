"""Looking at a mount that may not answer.

A process waiting for a FUSE daemon that hangs cannot be ended, not even by SIGKILL, and a stuck
thread keeps its process from ending.  So whatever may hang is done by a forked child, which is left
behind where it does.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
MAX_FDS = 1 << 16


def within(timeout_s: float, look: Callable[[], T]) -> T:
    """What ``look`` returns, from a child process; it must be picklable.

    Raises TimeoutError, or the OSError ``look`` raised.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        _run_child(look, writer)
    os.close(writer)
    try:
        answer = _read(reader, timeout_s)
    finally:
        os.close(reader)
        _abandon(child)
    value: T | OSError = pickle.loads(answer)
    if isinstance(value, OSError):
        raise value
    return value


def _run_child(look: Callable[[], object], writer: int) -> None:
    """Never returns.  Keeps nothing open: a pipe to our reader must not outlive us."""
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.closerange(3, writer)
        os.closerange(writer + 1, MAX_FDS)
        try:
            answer: object = look()
        except OSError as error:
            answer = error
        os.write(writer, pickle.dumps(answer))
    finally:
        os._exit(0)


def _read(reader: int, timeout_s: float) -> bytes:
    """One write of the child; answers are shorter than a pipe's 64 KiB."""
    ready, _, _ = select.select([reader], [], [], timeout_s)
    data = os.read(reader, 1 << 16) if ready else b""
    if not data:
        raise TimeoutError("no answer")
    return data


def _abandon(child: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(child, os.WNOHANG)
