"""Takes the kernel's next request without a turn of the event loop.

A shell's ``echo x > file; mv file other`` is a dozen requests, each sent when the one before is
answered.  pyfuse3 gives every request two turns of the event loop: one for the descriptor that
became readable, one for the lock under which one worker after another reads it.  The worker that
has the lock looks for the next request here first, and waits for it busily for as long as a quick
client takes: to wake a client on another core takes longer than its own work.  A step of a training
loop in C takes 1.0 ms that way, 1.33 without.
"""

from __future__ import annotations

import functools
import select
from collections.abc import Callable
from types import ModuleType

import pyfuse3
import trio

from jaxfs.ipc.spin import SpinPolicy

WAIT_S = 120e-6  # a client that is not scheduled within this is not waited for
MISS_COST = 8  # requests that are not waited for after a wait in vain: cores are scarce


class RequestWaiter:
    """Waits until /dev/fuse is readable, in place of ``trio.lowlevel.wait_readable``."""

    def __init__(self) -> None:
        self._fd = -1
        self._poll: Callable[[], object] = list
        self._spin = SpinPolicy(WAIT_S, MISS_COST, skips=MISS_COST)

    async def wait_readable(self, fd: int) -> None:
        """Returns when ``fd`` is readable, as trio's function does.

        It may return without a checkpoint: taking the lock before it was one.
        """
        if fd != self._fd:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            self._fd, self._poll = fd, functools.partial(poll.poll, 0)
        if not self._spin.wait(self._poll):
            await trio.lowlevel.wait_readable(fd)


def install() -> None:
    """Makes pyfuse3 wait for requests by a ``RequestWaiter``.

    pyfuse3 3.5 has no hook for it: its session loop calls ``trio.lowlevel.wait_readable``, which it
    looks up by name in the module it imported as ``trio``.  So it gets a copy of that module in
    which this one function differs.  trio itself is not changed: this process's other tasks wait as
    before.
    """
    pyfuse3.trio = _copy_of(  # type: ignore[attr-defined]  # its own import, not its API
        trio, lowlevel=_copy_of(trio.lowlevel, wait_readable=RequestWaiter().wait_readable)
    )


def _copy_of(module: ModuleType, **replaced: object) -> ModuleType:
    """Returns a copy of a module in which some attributes are replaced."""
    copy = ModuleType(module.__name__, module.__doc__)
    vars(copy).update(vars(module), **replaced)
    return copy
