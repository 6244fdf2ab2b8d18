"""Work that continues when those who wait for it are interrupted, and is done once for all of them.

A compile that close(2) began is not undone by Ctrl-C: the wait ends, the work does not, and the
next close(2) of the same source finds it under way.  Where several programs share a job, it goes on
as long as one of them needs it.  The name is that of Go's x/sync package.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import trio

from jaxfs.errors import JaxfsError, RunFailed
from jaxfs.ipc.wake_gate import WakeGate

log = logging.getLogger(__name__)
Product = TypeVar("Product")


class SingleFlight(Generic[Product]):
    """One piece of work under way in a nursery, for any number of waiters.

    Errors of jaxfs reach the waiters.  Any other error is a bug: it is logged and must not end the
    daemon; the waiters get RunFailed.
    """

    def __init__(self, nursery: trio.Nursery, work: Callable[[], Awaitable[Product]]) -> None:
        self._work = work
        self._ended = trio.Event()
        self._gate = WakeGate()
        self._scope = trio.CancelScope()
        self._products: list[Product] = []
        self._error: JaxfsError | None = None
        nursery.start_soon(self._run)

    @property
    def ended(self) -> trio.Event:
        """Set when the work has ended, well or not."""
        return self._ended

    async def _run(self) -> None:
        try:
            with self._scope:
                self._products.append(await self._work())
        except JaxfsError as error:
            self._error = error.recorded()
        except Exception as error:
            log.exception("internal error in work that continues without its waiters")
            self._error = RunFailed(f"internal error: {error!r}")
        finally:
            self._ended.set()

    def cancel(self) -> None:
        """Ends the work: nothing waits for it."""
        self._scope.cancel()

    async def wait(self) -> Product:
        """Returns what the work makes.

        Raises:
            RunFailed: There is a bug in the work, or the daemon ended before it.
            JaxfsError: What the work raised, a fresh error for each waiter.
        """
        await self._gate.wait(self._ended)
        if self._error is not None:
            raise self._error.recorded()
        if not self._products:
            raise RunFailed("the daemon ended before the work did")
        return self._products[0]


class SingleFlights(Generic[Product]):
    """Work under way by key: at most one piece of work per key at a time.

    Work that nothing waits for any more ends: its program was removed or overwritten.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._flights: dict[str, SingleFlight[Product]] = {}
        self._waiters: Counter[SingleFlight[Product]] = Counter()

    async def do(self, key: str, work: Callable[[], Awaitable[Product]]) -> Product:
        """Returns what ``work`` makes, or the work of this key that is under way already."""
        flight = self._flights.get(key)
        if flight is None:

            async def work_and_forget() -> Product:
                try:
                    return await work()
                finally:
                    self._forget(key, flight)

            flight = self._flights[key] = SingleFlight(self._nursery, work_and_forget)
        self._waiters[flight] += 1
        try:
            return await flight.wait()
        finally:
            self._waiters[flight] -= 1
            if not self._waiters[flight]:
                del self._waiters[flight]
                self._forget(key, flight)
                flight.cancel()

    def _forget(self, key: str, flight: SingleFlight[Product] | None) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
