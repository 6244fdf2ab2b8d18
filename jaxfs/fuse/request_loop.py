"""Takes the next request: without a turn of the event loop, and in an order that is fair.

A shell's ``echo x > file; mv file other`` is a dozen requests, each sent when the one before is
answered.  pyfuse3 gives every request two turns of the event loop: one for the descriptor that
became readable, one for the lock under which one worker after another reads it.  The worker that
has the lock looks for the next request here first, and waits for it busily for as long as a quick
client takes: to wake a client on another core takes longer than its own work.  A step of a training
loop in C takes 1.0 ms that way, 1.33 without.

Where more than one request is there, all are read, and the `request_queue` has the order.
"""

from __future__ import annotations

import functools
import os
import select
from collections.abc import Callable
from types import ModuleType

import pyfuse3
import trio

from jaxfs.fuse.request_queue import (
    MORE,
    NONE,
    ReceivedRequest,
    RequestQueue,
    RequestReceiver,
)
from jaxfs.ipc.spin import SpinPolicy

WAIT_S = 120e-6  # a client that is not scheduled within this is not waited for
MISS_COST = 8  # requests that are not waited for after a wait in vain: cores are scarce


class RequestWaiter:
    """Waits until there is a request to take, in place of ``trio.lowlevel.wait_readable``.

    Args:
        receiver: Reads requests; without it they are taken in the order of the kernel.
    """

    def __init__(self, receiver: RequestReceiver | None = None) -> None:
        self._fd = -1
        self._look: Callable[[], int] = int
        self._spin = SpinPolicy(WAIT_S, MISS_COST, skips=MISS_COST)
        self._receiver = receiver
        self._queue = RequestQueue()

    async def wait_readable(self, fd: int) -> None:
        """Returns when ``fd`` is readable or a request was read, as trio's function does.

        It may return without a checkpoint: taking the lock before it was one.
        """
        if fd != self._fd:
            self._begin(fd)
        if self._queue:
            self._take_next()
            return
        found = self._spin.wait(self._look)
        if found == MORE:
            self._take_next(found)
        elif not found:
            await trio.lowlevel.wait_readable(fd)

    def _begin(self, fd: int) -> None:
        self._fd = fd
        if self._receiver is None:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            self._look = lambda: len(poll.poll(0))
        else:
            os.set_blocking(fd, False)  # a request may be withdrawn before it is read
            self._look = functools.partial(self._receiver.receive, fd)

    def _take_next(self, found: int = NONE) -> None:
        """Reads the requests that are there, and takes the next one in the order of the queue.

        Args:
            found: What the receiver returned last, if that was read and not taken yet.
        """
        assert self._receiver is not None
        queue = self._queue
        found = found or (NONE if queue.is_full else self._look())
        while found > NONE:
            queue.add(ReceivedRequest(*self._receiver.hold()))
            found = self._look() if found == MORE and not queue.is_full else NONE
        if found == NONE:
            self._receiver.choose(queue.take().held)


def install(receiver: RequestReceiver | None) -> None:
    """Makes pyfuse3 wait for requests by a ``RequestWaiter``.

    Args:
        receiver: See there.

    pyfuse3 3.5 has no hook for it: its session loop calls ``trio.lowlevel.wait_readable``, which it
    looks up by name in the module it imported as ``trio``.  So it gets a copy of that module in
    which this one function differs.  trio itself is not changed: this process's other tasks wait as
    before.
    """
    pyfuse3.trio = _copy_of(  # type: ignore[attr-defined]  # its own import, not its API
        trio, lowlevel=_copy_of(trio.lowlevel, wait_readable=RequestWaiter(receiver).wait_readable)
    )


def _copy_of(module: ModuleType, **replaced: object) -> ModuleType:
    """Returns a copy of a module in which some attributes are replaced."""
    copy = ModuleType(module.__name__, module.__doc__)
    vars(copy).update(vars(module), **replaced)
    return copy
