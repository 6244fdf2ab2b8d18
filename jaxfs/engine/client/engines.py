"""The engines of a mount: one for all users, or one for each user, under that user.

Programs run as native code.  With an engine for each user, a program that breaks out of its limits
has the rights of its user, and no access to the memory of another user's engine.  Each engine has a
pool of shared memory of its own, because a worker may keep every segment it was ever sent.  It is
started when needed and ended when idle.
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
    """Implements ``interface.Engines`` with an engine for each user.

    Attributes:
        owner: The mounting user's engine; the devices and the toolchain are known from it.
    """

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
        """The owner's, which all share."""
        return self.owner.toolchain

    def devices(self) -> tuple[Device, ...]:
        """Returns the owner's, which all share."""
        return self.owner.devices()

    def of(self, uid: int, /) -> Engine:
        """Returns the user's engine; its worker starts at the first run."""
        return self._engine(uid)

    def all(self) -> tuple[Engine, ...]:
        """Returns the engines of the users that have called something, the owner's first."""
        return tuple(self._engines.values())

    def _engine(self, uid: int) -> LocalEngine:
        found = self._engines.get(uid)
        if found is None:
            options = msgspec.structs.replace(self._options, user=User.known_as(uid))
            found = self._engines[uid] = LocalEngine(options, Pool(), self._idle_s)
            self._nursery.start_soon(found.run)
        return found

    async def close(self) -> None:
        """Ends all of them."""
        for engine in self._engines.values():
            await engine.close()
            engine.pool.close()


@asynccontextmanager
async def open_per_user(
    options: EngineOptions, owner_uid: int, idle_s: float
) -> AsyncIterator[UserEngines]:
    """Opens engines by user: the owner's is ready, the others start when needed.

    Raises:
        RunFailed: The owner's cannot be started.
    """
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
    """Implements ``interface.Engines`` with the same engine for all users."""

    def __init__(self, engine: LocalEngine) -> None:
        self._engine = engine

    @property
    def toolchain(self) -> str:
        """The engine's."""
        return self._engine.toolchain

    def devices(self) -> tuple[Device, ...]:
        """Returns the engine's."""
        return self._engine.devices()

    def of(self, _uid: int, /) -> Engine:
        """Returns the engine."""
        return self._engine

    def all(self) -> tuple[Engine, ...]:
        """Returns the engine."""
        return (self._engine,)


@asynccontextmanager
async def open_shared(options: EngineOptions) -> AsyncIterator[SharedEngine]:
    """Opens one engine that is ready, with its pool, and ends both on the way out.

    Raises:
        RunFailed: It cannot be started.
    """
    pool = Pool()
    async with open_local_engine(options, pool) as engine:
        yield SharedEngine(engine)
    pool.close()
