"""Taking the kernel's next request without a turn of the event loop.

A shell's ``echo x > file; mv file other`` is a dozen requests, each sent when the one before is
answered.  pyfuse3 gives every request two turns of the event loop: one for the descriptor that
became readable, one for the lock that lets one worker after another read it.  Whoever has the lock
looks for the next request here first, and stands still for it for as long as a quick client takes:
to wake one up on another core takes longer than its own work.  A step of a training loop in C takes
1.0 ms so, 1.33 without.
"""

from __future__ import annotations

import select
import time
from types import SimpleNamespace
from typing import Any

import pyfuse3
import trio

WAIT_S = 120e-6  # a client that is not scheduled within this is not waited for
MISSES_COST = 8  # so many requests are not waited for after a wait in vain: cores are scarce


class Requests:
    """Says when /dev/fuse is readable, in place of ``trio.lowlevel.wait_readable``."""

    def __init__(self) -> None:
        self._fd = -1
        self._poll = select.poll()
        self._hurried = MISSES_COST

    async def wait_readable(self, fd: Any) -> None:
        """As trio's.  It may return without a checkpoint; taking the lock before it was one."""
        if fd != self._fd:
            self._poll = select.poll()
            self._poll.register(fd, select.POLLIN)
            self._fd = fd
        if not self._is_readable():
            await trio.lowlevel.wait_readable(fd)

    def _is_readable(self) -> bool:
        if self._poll.poll(0):
            return True
        if self._hurried:
            self._hurried -= 1
            return False
        deadline = time.perf_counter() + WAIT_S
        while time.perf_counter() < deadline:
            if self._poll.poll(0):
                return True
        self._hurried = MISSES_COST
        return False


def install() -> None:
    """Let pyfuse3 wait for requests by ``Requests``; it looks trio's functions up by name."""
    lowlevel = SimpleNamespace(
        wait_readable=Requests().wait_readable,
        current_trio_token=trio.lowlevel.current_trio_token,
        notify_closing=trio.lowlevel.notify_closing,
        current_task=trio.lowlevel.current_task,
    )
    pyfuse3.trio = _Trio(lowlevel)  # type: ignore[attr-defined]  # its own import, not its API


class _Trio:
    """trio with another ``lowlevel``."""

    def __init__(self, lowlevel: object) -> None:
        self.lowlevel = lowlevel

    def __getattr__(self, name: str) -> Any:
        return getattr(trio, name)
