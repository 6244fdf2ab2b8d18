"""Which job of the compiler runs next: users take turns.

Compiles take seconds and every core.  With one queue for all, the compiles of one user would delay
those of the others by minutes.  So each user has a queue, the user with the fewest jobs under way
is next, and no user has all the slots.  A user without a job under way need not even wait for a
slot, as long as there are not too many processes: a slot is a process, not a core.
"""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from jaxfs.quotas import COMPILES, Quotas

FIRST_JOBS = 8  # of users that have no other, beyond the slots


class JobSlots:
    """Slots for jobs, given to users in turn.

    Args:
        count: How many jobs may run at a time.
        quotas: Limits the unfinished jobs of each user.

    Attributes:
        quotas: As given.

    >>> async def main():
    ...     async with JobSlots(2).turn(1001):
    ...         return "compiled"
    >>> trio.run(main)
    'compiled'
    """

    def __init__(self, count: int, quotas: Quotas | None = None) -> None:
        self.quotas = quotas or Quotas({}, 0)
        self._count = count
        self._most = max(1, count - 1)  # of one user
        self._running: Counter[int] = Counter()
        self._waiting: dict[int, deque[trio.Event]] = {}
        self._last_turn: dict[int, int] = {}  # of users that have jobs
        self._turns = itertools.count(1)

    @asynccontextmanager
    async def turn(self, uid: int) -> AsyncIterator[None]:
        """Waits for a user's turn, and holds a slot for the time of a block.

        Raises:
            OverQuota: The user has too many unfinished jobs.
        """
        charge = self.quotas.charge(uid, COMPILES, 1)
        try:
            await self._take(uid)
            try:
                yield
            finally:
                self._leave(uid)
        finally:
            charge.refund()

    async def _take(self, uid: int) -> None:
        started = trio.Event()
        self._waiting.setdefault(uid, deque()).append(started)
        self._start_next()
        try:
            await started.wait()
        except trio.Cancelled:
            if started.is_set():
                self._leave(uid)
            else:
                self._waiting[uid].remove(started)
                self._forget(uid)
            raise

    def _leave(self, uid: int) -> None:
        self._running[uid] -= 1
        self._forget(uid)
        self._start_next()

    def _forget(self, uid: int) -> None:
        """Drops what is known of a user without jobs."""
        if not self._waiting.get(uid):
            self._waiting.pop(uid, None)
            if not self._running[uid]:
                del self._running[uid]
                self._last_turn.pop(uid, None)

    def _start_next(self) -> None:
        """Lets jobs begin whose turn it is."""
        while ready := [uid for uid in self._waiting if self._may_start(uid)]:
            uid = min(ready, key=lambda uid: (self._running[uid], self._last_turn.get(uid, 0)))
            self._waiting[uid].popleft().set()
            self._running[uid] += 1
            self._last_turn[uid] = next(self._turns)
            if not self._waiting[uid]:
                del self._waiting[uid]

    def _may_start(self, uid: int) -> bool:
        total, own = self._running.total(), self._running[uid]
        if own == 0:
            return total < self._count + FIRST_JOBS
        return own < self._most and total < self._count
