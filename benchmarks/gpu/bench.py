"""What the checks of one process share: an engine, the programs, the figures of plain JAX."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import msgspec

from benchmarks.gpu.caller import Caller
from benchmarks.gpu.config import Config, Sizes
from benchmarks.gpu.executables import read_executable
from benchmarks.gpu.outcomes import Found, Skip, Value
from jaxfs.engine.client.client import open_local_engine
from jaxfs.engine.interface import Executable
from jaxfs.engine.protocol import EngineOptions
from jaxfs.ipc.shared_memory import Pool

POOL_BYTES = 4 << 30


class Bench:
    """One process's engine, which the first check that needs it starts.

    Attributes:
        config: Of the run.
        sizes: Of its arrays.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.sizes: Sizes = config.sizes
        self._stack = AsyncExitStack()
        self._caller: Caller | None = None
        self._loaded: set[str] = set()

    def options(self, *, keeps_compiled: bool = True) -> EngineOptions:
        """Returns how an engine of this run starts."""
        cache_dir = str(self.config.cache_dir) if keeps_compiled else ""
        return EngineOptions(platform=self.config.platform, cache_dir=cache_dir)

    async def caller(self) -> Caller:
        """Returns calls of the engine; call it outside of any cancel scope."""
        if self._caller is None:
            pool = Pool(POOL_BYTES)
            self._stack.callback(pool.close)
            engine = await self._stack.enter_async_context(open_local_engine(self.options(), pool))
            self._caller = Caller(engine)
        return self._caller

    def executable(self, name: str) -> Executable:
        """Returns a program that the group ``lower`` has made.

        Raises:
            Skip: It was not made.
        """
        return read_executable(self.config.directory, name)

    async def loaded(self, name: str) -> Executable:
        """Returns a program that the engine has loaded."""
        caller, executable = await self.caller(), self.executable(name)
        if name not in self._loaded:
            await caller.engine.load(executable)
            self._loaded.add(name)
        return executable

    async def reset(self) -> None:
        """Ends the engine: the next check starts another one."""
        stack, self._stack = self._stack, AsyncExitStack()
        self._caller, self._loaded = None, set()
        await stack.aclose()

    def plain(self, name: str) -> float:
        """Returns a figure of plain JAX.

        Raises:
            Skip: The baseline has not measured it.
        """
        found = self.plain_figures().get(name)
        if not isinstance(found, float | int):
            raise Skip(f"plain JAX has no figure {name}: {found}")
        return float(found)

    def plain_figures(self) -> dict[str, Value]:
        """Returns all figures of plain JAX, empty before they are measured."""
        path = self.config.plain_path
        return (
            msgspec.json.decode(path.read_bytes(), type=dict[str, Value]) if path.exists() else {}
        )


Check = Callable[[Bench], Awaitable[Found]]
