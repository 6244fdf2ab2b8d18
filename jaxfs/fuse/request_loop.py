"""Takes the next request: without a turn of the event loop, and in an order that is fair.

A shell's ``echo x > file; mv file other`` is a dozen requests, each sent when the one before is
answered.  pyfuse3 gives every request two turns of the event loop: one for the descriptor that
became readable, one for the lock under which one worker after another reads it.  The worker that
has the lock looks for the next request here first, and waits for it busily for as long as a quick
client takes: to wake a client on another core takes longer than its own work.  A step of a training
loop in C takes 1.0 ms that way, 1.33 without.

Where more than one request is there, all are read, and the `request_queue` has the order.  Then one
turn of the event loop takes as many as it can in ``TURN_S``: a thread that parses an array gets the
interpreter at each turn, and keeps it for half a millisecond.
"""

from __future__ import annotations

import functools
import os
import select
import time
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
TURN_S = 1e-3  # requests that wait are taken for so long before other tasks have their turn
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

    def has_more(self) -> bool:
        """Returns whether requests were read that wait for their turn."""
        return bool(self._queue)

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


class ReadLock:
    """Lets one worker at a time take a request, in place of ``trio.Lock``.

    Like that one, it passes from one worker to the next with a turn of the event loop.  But where
    requests wait, a worker that has answered one takes the next one in the same turn.

    Args:
        has_more: Whether requests wait.
    """

    def __init__(self, has_more: Callable[[], bool]) -> None:
        self._has_more = has_more
        self._waiting = trio.lowlevel.ParkingLot()
        self._is_held = self._is_handed_over = self._is_waking = False
        self._until_s = 0.0  # this turn of the event loop should end

    async def __aenter__(self) -> None:
        """Takes the lock, perhaps without a checkpoint."""
        if self._is_held:
            await self._wait()
        elif self._goes_on():
            self._is_held = True
            return
        else:
            await trio.lowlevel.checkpoint_if_cancelled()
            self._is_held = True
            await trio.lowlevel.cancel_shielded_checkpoint()
        self._until_s = time.perf_counter() + TURN_S

    async def __aexit__(self, *_: object) -> None:
        """Gives it to the worker that has waited longest, unless this one goes on."""
        if not self._waiting:
            self._is_held = False
        elif not self._goes_on():
            self._is_handed_over = True
            self._waiting.unpark()
        else:
            self._is_held = False
            if not self._is_waking:  # this worker's handler may wait for something
                self._is_waking = True
                self._waiting.unpark()

    def _goes_on(self) -> bool:
        return self._has_more() and time.perf_counter() < self._until_s

    async def _wait(self) -> None:
        while True:
            await self._waiting.park()
            if self._is_handed_over:
                self._is_handed_over = False
                return
            self._is_waking = False
            if not self._is_held:
                self._is_held = True
                return


def install(receiver: RequestReceiver | None) -> None:
    """Makes pyfuse3 wait for requests by a ``RequestWaiter``.

    Args:
        receiver: See there.

    pyfuse3 3.5 has no hook for it: its session loop calls ``trio.lowlevel.wait_readable`` under a
    ``trio.Lock``, which it looks up by name in the module it imported as ``trio``.  So it gets a
    copy of that module in which these two differ.  trio itself is not changed: this process's other
    tasks wait as before.
    """
    waiter = RequestWaiter(receiver)
    pyfuse3.trio = _copy_of(  # type: ignore[attr-defined]  # its own import, not its API
        trio,
        Lock=functools.partial(ReadLock, waiter.has_more),
        lowlevel=_copy_of(trio.lowlevel, wait_readable=waiter.wait_readable),
    )


def _copy_of(module: ModuleType, **replaced: object) -> ModuleType:
    """Returns a copy of a module in which some attributes are replaced."""
    copy = ModuleType(module.__name__, module.__doc__)
    vars(copy).update(vars(module), **replaced)
    return copy
