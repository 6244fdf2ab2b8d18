"""Wakes many tasks that wait for one event in portions, between which others have their turn.

An event of trio makes all of its waiters ready at once, and the event loop runs them in one turn.
Five hundred readers of a result that was removed are answered in 40 ms: any other request would
wait for so long.
"""

from __future__ import annotations

import time

import trio

PORTION = 16  # tasks that go on in one turn of the loop; each may answer a request
PORTION_S = 0.002  # tasks that come later than this after a portion began are of another one


class WakeGate:
    """Lets some of the tasks through that an event woke, and the others in later turns.

    >>> async def main():
    ...     done = trio.Event()
    ...     done.set()
    ...     await WakeGate().wait(done)
    >>> trio.run(main)
    """

    __slots__ = ("_began_s", "_parked", "_passed")

    def __init__(self) -> None:
        self._began_s, self._passed = 0.0, 0
        self._parked = trio.lowlevel.ParkingLot()

    async def wait(self, event: trio.Event) -> None:
        """Waits for an event, and for a turn if others waited for it too."""
        await event.wait()
        now_s = time.perf_counter()
        if now_s - self._began_s > PORTION_S:
            self._began_s, self._passed = now_s, 0
        self._passed += 1
        if self._passed <= PORTION and not self._parked:
            return
        if not self._parked:
            trio.lowlevel.spawn_system_task(self._let_through)
        await self._parked.park()

    async def _let_through(self) -> None:
        while self._parked:
            await trio.lowlevel.checkpoint()
            self._parked.unpark(count=PORTION)
