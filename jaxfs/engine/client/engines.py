"""The engines of a mount: one for all users, or one for each user, under that user.

Programs run as native code.  With an engine for each user, a program that breaks out of its limits
has the rights of its user, and no access to the memory of another user's engine.  Each engine has a
pool of shared memory of its own, because a worker may keep every segment it was ever sent.  It is
started when needed and ended when idle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import trio

from jaxfs.engine.client.client import LocalEngine, open_local_engine
from jaxfs.engine.client.spare_worker import SpareWorker
from jaxfs.engine.interface import Engine, Repair
from jaxfs.engine.protocol import Device, EngineOptions
from jaxfs.ipc.shared_memory import Pool
from jaxfs.posix.accelerators import TABLE
from jaxfs.posix.device_selection import exclusive
from jaxfs.posix.privileges import User
from jaxfs.types.compile_target import CompileTarget

MAX_SEPARATE = 4  # engines besides the shared one: each is a process with a copy of JAX
SEPARATE_IDLE_S = 30.0  # without a run, then the process ends


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
        self._repair: Repair | None = None
        self.owner = self._engine(owner_uid)

    @property
    def toolchain(self) -> str:
        """The owner's, which all share."""
        return self.owner.toolchain

    @property
    def target(self) -> CompileTarget:
        """The owner's, which all share."""
        return self.owner.target

    def devices(self) -> tuple[Device, ...]:
        """Returns the owner's, which all share."""
        return self.owner.devices()

    def of(self, uid: int, /) -> Engine:
        """Returns the user's engine; its worker starts at the first run."""
        return self._engine(uid)

    def all(self) -> tuple[Engine, ...]:
        """Returns the engines of the users that have called something, the owner's first."""
        return tuple(self._engines.values())

    def separate(self, _uid: int, /) -> None:
        """Returns None: every user has an engine already."""

    async def prepare(self) -> None:
        """Returns at once: no user waits for the engine of another one."""

    def rejoin(self, _uid: int, /) -> None:
        """Does nothing."""

    def _engine(self, uid: int) -> LocalEngine:
        found = self._engines.get(uid)
        if found is None:
            options = msgspec.structs.replace(self._options, user=User.known_as(uid))
            found = self._engines[uid] = LocalEngine(options, Pool(), self._idle_s)
            found.repair_with(self._repair)
            self._nursery.start_soon(found.run)
        return found

    def repair_with(self, repair: Repair, /) -> None:
        """Lets all engines ask for executables that they cannot load."""
        self._repair = repair
        for engine in self._engines.values():
            engine.repair_with(repair)

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
        Invalid: JAX has chosen devices that one process holds.
    """
    async with trio.open_nursery() as nursery:
        engines = UserEngines(options, owner_uid, idle_s, nursery)
        try:
            engines.owner.ensure_starting()
            await engines.owner.wait_ready()
            _check_sharing(engines.devices())
            yield engines
        finally:
            with trio.CancelScope(shield=True):
                await engines.close()


def _check_sharing(devices: tuple[Device, ...]) -> None:
    """Checks that several processes can use these devices.

    Raises:
        Invalid: One process holds them.
    """
    for device in devices:
        row = TABLE.get(device.platform)
        if row is not None and row.is_exclusive:
            raise exclusive(row.platform)


class SharedEngine:
    """Implements ``interface.Engines`` with the same engine for all users.

    A user whose runs delay or end those of others gets another one, of ``MAX_SEPARATE`` at most:
    each is a process.

    Args:
        engine: The engine.
        options: How its worker starts; those of other engines start the same way.
        spare: The worker that ``engine`` takes where it loses its own.
        nursery: For the other engines.
    """

    def __init__(
        self,
        engine: LocalEngine,
        options: EngineOptions,
        spare: SpareWorker,
        nursery: trio.Nursery,
    ) -> None:
        self._engine = engine
        self._spare = spare
        self._options = options
        self._nursery = nursery
        self._separate: list[LocalEngine] = []
        self._separated: dict[int, LocalEngine] = {}  # by user
        self._repair: Repair | None = None

    @property
    def toolchain(self) -> str:
        """The engine's."""
        return self._engine.toolchain

    @property
    def target(self) -> CompileTarget:
        """The engine's."""
        return self._engine.target

    def devices(self) -> tuple[Device, ...]:
        """Returns the engine's."""
        return self._engine.devices()

    def of(self, _uid: int, /) -> Engine:
        """Returns the engine."""
        return self._engine

    def all(self) -> tuple[Engine, ...]:
        """Returns the engine, then those of single users."""
        return (self._engine, *self._separate)

    def separate(self, uid: int, /) -> Engine | None:
        """Moves a user's runs to another engine, on CPUs; see ``interface.Engines``.

        Other devices are held by one process.
        """
        if not self._may_have_more:
            return None
        found = self._separated[uid] = self._least_used()
        self._engine.give_user(uid, found)
        return found

    @property
    def _may_have_more(self) -> bool:
        """Whether more than one process can use the devices."""
        return all(device.platform == "cpu" for device in self._engine.devices())

    async def prepare(self) -> None:
        """Waits until the spare worker is up, on CPUs; see ``interface.Engines``."""
        if self._may_have_more:
            await self._spare.prepare()

    def rejoin(self, uid: int, /) -> None:
        """Lets a user without runs use the shared engine again."""
        self._separated.pop(uid, None)

    def _least_used(self) -> LocalEngine:
        """Returns an engine that no user has, or one of the fewest users."""
        users = Counter(self._separated.values())
        found = min(self._separate, key=lambda engine: users[engine], default=None)
        if found is not None and (not users[found] or len(self._separate) == MAX_SEPARATE):
            return found
        quarantine = self._engine.quarantine.for_another_worker()
        added = LocalEngine(self._options, self._engine.pool, SEPARATE_IDLE_S, quarantine)
        added.repair_with(self._repair)
        self._separate.append(added)
        self._nursery.start_soon(added.run)
        return added

    def repair_with(self, repair: Repair, /) -> None:
        """Lets all engines ask for executables that they cannot load."""
        self._repair = repair
        for engine in (self._engine, *self._separate):
            engine.repair_with(repair)

    async def close(self) -> None:
        """Ends the engines of single users."""
        for engine in self._separate:
            await engine.close()


@asynccontextmanager
async def open_shared(options: EngineOptions) -> AsyncIterator[SharedEngine]:
    """Opens one engine that is ready, with its pool, and ends both on the way out.

    Raises:
        RunFailed: It cannot be started.
    """
    pool = Pool()
    async with trio.open_nursery() as nursery:
        spare = SpareWorker(options, nursery)
        async with open_local_engine(options, pool, spare) as engine:
            engines = SharedEngine(engine, options, spare, nursery)
            try:
                yield engines
            finally:
                spare.close()
                with trio.CancelScope(shield=True):
                    await engine.close()
                    await engines.close()
    pool.close()
