"""An engine for each user, under that user, started at need and ended when idle.

Programs run as native code: one that breaks out of what it should do has the rights of its user,
and the memory of no other user's engine.  Each has a pool of shared memory of its own, because an
engine may keep every segment it was ever sent.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import trio

from jaxfs.engine.client.client import LocalEngine, open_local_engine
from jaxfs.engine.interface import Engine
from jaxfs.engine.protocol import Device, EngineOptions
from jaxfs.ipc.shared_memory import Pool
from jaxfs.posix.privileges import User


class UserEngines:
    """Implements ``interface.Engines``.  The owner's engine tells which devices there are."""

    def __init__(
        self, options: EngineOptions, owner_uid: int, idle_s: float, nursery: trio.Nursery
    ) -> None:
        self._options = options
        self._idle_s = idle_s
        self._nursery = nursery
        self._engines: dict[int, LocalEngine] = {}
        self.owner = self._engine(owner_uid)

    @property
    def toolchain(self) -> str:
        return self.owner.toolchain

    def devices(self) -> tuple[Device, ...]:
        return self.owner.devices()

    def of(self, uid: int) -> Engine:
        return self._engine(uid)

    def all(self) -> tuple[Engine, ...]:
        return tuple(self._engines.values())

    def _engine(self, uid: int) -> LocalEngine:
        found = self._engines.get(uid)
        if found is None:
            options = msgspec.structs.replace(self._options, user=User.known_as(uid))
            found = self._engines[uid] = LocalEngine(options, Pool(), self._idle_s)
            self._nursery.start_soon(found.run)
        return found

    async def close(self) -> None:
        """End all of them."""
        for engine in self._engines.values():
            await engine.close()
            engine.pool.close()


@asynccontextmanager
async def open_per_user(
    options: EngineOptions, owner_uid: int, idle_s: float
) -> AsyncIterator[UserEngines]:
    """Engines by user; the owner's is ready, the others start at need."""
    async with trio.open_nursery() as nursery:
        engines = UserEngines(options, owner_uid, idle_s, nursery)
        try:
            engines.owner.ensure_starting()
            await engines.owner.wait_ready()
            yield engines
        finally:
            with trio.CancelScope(shield=True):
                await engines.close()


class SharedEngine:
    """Implements ``interface.Engines`` with the same engine for everybody."""

    def __init__(self, engine: LocalEngine) -> None:
        self._engine = engine

    @property
    def toolchain(self) -> str:
        return self._engine.toolchain

    def devices(self) -> tuple[Device, ...]:
        return self._engine.devices()

    def of(self, uid: int) -> Engine:
        return self._engine

    def all(self) -> tuple[Engine, ...]:
        return (self._engine,)


@asynccontextmanager
async def open_shared(options: EngineOptions) -> AsyncIterator[SharedEngine]:
    """One engine that is ready, with its pool, ended on the way out."""
    pool = Pool()
    async with open_local_engine(options, pool) as engine:
        yield SharedEngine(engine)
    pool.close()
