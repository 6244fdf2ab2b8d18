"""Work that goes on when the one who waits for it is interrupted.

A compile that was asked for with close(2) is not undone by Ctrl-C: the waiting ends, the work does
not.  Errors of jaxfs reach the waiter; anything else is a bug, logged, and must not end the daemon.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import trio

from jaxfs.errors import JaxfsError, RunFailed

log = logging.getLogger(__name__)
Product = TypeVar("Product")


class SingleFlight(Generic[Product]):
    """One piece of work under way in a nursery, for any number of waiters."""

    def __init__(self, nursery: trio.Nursery, do: Callable[[], Awaitable[Product]]) -> None:
        self._do = do
        self._ended = trio.Event()
        self._products: list[Product] = []
        self._error: JaxfsError | None = None
        nursery.start_soon(self._run)

    async def _run(self) -> None:
        try:
            self._products.append(await self._do())
        except JaxfsError as error:
            self._error = error
        except Exception as error:
            log.exception("internal error in work for somebody who may still wait")
            self._error = RunFailed(f"internal error: {error!r}")
        finally:
            self._ended.set()

    async def wait(self) -> Product:
        """What the work makes.  Raises its JaxfsError, a fresh one for each waiter."""
        await self._ended.wait()
        if self._error is not None:
            raise type(self._error)(self._error.reason, self._error.diagnostics)
        if not self._products:
            raise RunFailed("the daemon ended before the work did")
        return self._products[0]
