"""Reading from a mount that may not answer.

A process in a request to a FUSE daemon that hangs cannot be ended, not even by SIGKILL, and a
thread in that state keeps its process from ending.  So a forked child does whatever may hang, and
is abandoned if it does.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
from collections.abc import Callable
from typing import NoReturn, TypeVar

T = TypeVar("T")
MAX_FDS = 1 << 16
PIPE_BYTES = 1 << 16  # an answer is one write, so it has to be shorter than a pipe


def within(timeout_s: float, read: Callable[[], T]) -> T:
    """Returns what ``read`` returns in a child process.

    >>> within(10, lambda: "jaxfs 0.1.0")
    'jaxfs 0.1.0'

    Args:
        timeout_s: Seconds after which the child is killed and no longer waited for.
        read: Is called in a forked child; its result is pickled and shorter than 64 KiB.

    Raises:
        TimeoutError: if there is no answer in time.
        OSError: the one that ``read`` raised.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        _run_child(read, writer)
    os.close(writer)
    try:
        ready, _, _ = select.select([reader], [], [], timeout_s)
        answer = os.read(reader, PIPE_BYTES) if ready else b""
    finally:
        os.close(reader)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child, os.WNOHANG)
    if not answer:
        raise TimeoutError("no answer")
    value: T | OSError = pickle.loads(answer)
    if isinstance(value, OSError):
        raise value
    return value


def _run_child(read: Callable[[], T], writer: int) -> NoReturn:
    """Writes the pickled result, or OSError, and exits.

    All other files are closed first: a child that hangs must not keep a pipe of the caller open.
    """
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.closerange(3, writer)
        os.closerange(writer + 1, MAX_FDS)
        try:
            answer: T | OSError = read()
        except OSError as error:
            answer = error
        os.write(writer, pickle.dumps(answer))
    finally:
        os._exit(0)
