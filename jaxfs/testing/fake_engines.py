"""The engines of a mount without processes: one for all users, or one for each."""

from __future__ import annotations

import trio

from jaxfs.engine.interface import Engine, Repair
from jaxfs.engine.protocol import Device
from jaxfs.testing.fake_engine import FakeEngine, device
from jaxfs.types.compile_target import CompileTarget


class FakeEngines:
    """Implements ``interface.Engines``, with one engine for all users or one for each.

    Attributes:
        target: What programs are compiled for; as of a platform without a description.
        separated: The engines of users that were separated.
        preparations: How often ``prepare`` was called.
        prepared: What it waits for; set, unless a test puts another one here.

    >>> FakeEngines(devices=2).devices()[1].name
    'cpu:1'
    """

    def __init__(
        self,
        devices: int = 1,
        platform: str = "cpu",
        *,
        per_user: bool = False,
        owner_uid: int = 1000,
        bytes_limit: int = 0,
    ) -> None:
        self._devices = tuple(device(number, platform, bytes_limit) for number in range(devices))
        self._is_per_user = per_user
        self.target = CompileTarget({"gpu": "cuda"}.get(platform, platform))
        self.owner = FakeEngine(self._devices)
        self._engines = {owner_uid: self.owner}
        self.separated: dict[int, FakeEngine] = {}
        self.preparations = 0
        self.prepared = trio.Event()
        self.prepared.set()

    @property
    def toolchain(self) -> str:
        """That of the owner's engine."""
        return self.owner.toolchain

    def devices(self) -> tuple[Device, ...]:
        """The devices each engine has."""
        return self._devices

    def of(self, uid: int) -> FakeEngine:
        """Returns the engine of a user."""
        if not self._is_per_user:
            return self.owner
        return self._engines.setdefault(uid, FakeEngine(self._devices))

    def all(self) -> tuple[Engine, ...]:
        """Returns those there are, the mounting user's first."""
        return (*self._engines.values(), *self.separated.values())

    def separate(self, uid: int) -> FakeEngine | None:
        """Moves a user to an engine of its own, on CPUs."""
        if self._is_per_user or self._devices[0].platform != "cpu":
            return None
        found = self.separated[uid] = FakeEngine(self._devices, self.owner.pool, self.owner.numbers)
        self.owner.give_user(uid, found)
        return found

    async def prepare(self) -> None:
        """Counts the request, and waits for ``prepared``."""
        self.preparations += 1
        await self.prepared.wait()

    def rejoin(self, uid: int) -> None:
        """Lets the user use the owner's engine again."""
        self.separated.pop(uid, None)

    def repair_with(self, repair: Repair, /) -> None:
        """Lets all engines ask for executables that are damaged."""
        for engine in (*self._engines.values(), *self.separated.values()):
            engine.repair_with(repair)

    async def close(self) -> None:
        """Ends all runs and frees the shared memory."""
        for engine in self.all():
            await engine.close()
            engine.pool.close()
