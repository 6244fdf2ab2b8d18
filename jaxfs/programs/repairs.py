"""Damaged files of the state directory are made again, from what they were made from.

A file is compared with its checksum when it is opened, an executable when an engine loads it.  What
is damaged is dropped and built again under the same key, so that programs need not know of it; the
runs that need an executable wait meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from weakref import WeakValueDictionary

import msgspec
import trio

from jaxfs.engine.interface import Executable
from jaxfs.errors import JaxfsError
from jaxfs.programs.cache_entries import CacheEntry
from jaxfs.programs.compiled import BuildOrigin, CompiledProgram, ProgramVersion
from jaxfs.programs.single_flight import SingleFlights
from jaxfs.programs.store import Store

log = logging.getLogger(__name__)


class Repairs:
    """Makes entries of the state directory again.

    Args:
        store: The state directory.
        nursery: For repairs, which continue when those who wait for them are interrupted.
        build: Builds a version again, and loads nothing where engines load executables.
        trace: Makes the artifact of a key again.

    Attributes:
        origins: what the executables in use were built from, by key.
    """

    def __init__(
        self,
        store: Store,
        nursery: trio.Nursery,
        build: Callable[[BuildOrigin], Awaitable[ProgramVersion]],
        trace: Callable[[str, BuildOrigin], Awaitable[None]],
    ) -> None:
        self.origins: WeakValueDictionary[str, BuildOrigin] = WeakValueDictionary()
        self._store = store
        self._nursery = nursery
        self._build = build
        self._trace = trace
        self._flights = SingleFlights[Executable](nursery)
        self._refused: set[str] = set()  # executables that were intact and could not be loaded

    async def intact(self, compiled: CompiledProgram, path: Path) -> Path:
        """Returns a file of a version, which is made again if it is damaged.

        Raises:
            JaxfsError: It is damaged, and cannot be made again.
        """
        if not await self.is_intact(path):
            executable = compiled.executable
            await self._flights.do(str(path.parent), lambda: self._file_again(executable, path))
        return path

    async def is_intact(self, path: Path) -> bool:
        """Returns whether a file of an entry is as it was written."""
        return await self._store.off_loop(CacheEntry(path.parent).is_intact, path.name)

    async def _file_again(self, executable: Executable, path: Path) -> Executable:
        origin = self.origins.get(executable.key)
        if origin is not None and not await self.is_intact(path):
            await self._drop(path.parent)
            await self._build(origin)
        return executable

    async def _drop(self, entry: Path) -> None:
        log.warning("%s is damaged and is made again", entry)
        await self._store.off_loop(self._store.drop_entry, entry)

    def repair(
        self,
        executable: Executable,
        error: JaxfsError,
        done: Callable[[Executable | JaxfsError], None],
    ) -> None:
        """Implements ``engine.interface.Repair``."""
        self._nursery.start_soon(self._repair, executable, error, done)

    async def _repair(
        self,
        executable: Executable,
        error: JaxfsError,
        done: Callable[[Executable | JaxfsError], None],
    ) -> None:
        outcome: Executable | JaxfsError = error
        try:
            outcome = await self._flights.do(
                str(Path(executable.path).parent), lambda: self._executable_again(executable, error)
            )
        except JaxfsError as failure:
            outcome = failure
        finally:
            done(outcome)

    async def _executable_again(self, executable: Executable, error: JaxfsError) -> Executable:
        """Returns an executable that can be loaded, instead of one that could not.

        An executable that is intact, and is refused for another reason, is made again once.

        Raises:
            JaxfsError: The error of loading it, or why it cannot be made again.
        """
        key, path = executable.key, Path(executable.path)
        origin, entry = self.origins.get(key), CacheEntry(path.parent)
        intact, digest = await self.is_intact(path), entry.checksum(path.name)
        if intact and digest != executable.digest:  # it was made again since
            return msgspec.structs.replace(executable, digest=digest)
        is_final = intact and (key in self._refused or not executable.serialized)
        if origin is None or is_final:
            raise error
        if intact:
            self._refused.add(key)
        log.warning("%s cannot be loaded: %s", path, error.reason)
        await self._drop(path.parent)
        if executable.serialized:
            await self._build(origin)
        else:
            await self._trace(path.parent.name, origin)
        return msgspec.structs.replace(executable, digest=entry.checksum(path.name))
