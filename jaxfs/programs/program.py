"""A program as its users see it: a name that serves one version after another."""

from __future__ import annotations

import attrs
import trio

from jaxfs.errors import BrokenProgram, Invalid, JaxfsError
from jaxfs.ownership import SERIALS, Meta
from jaxfs.programs.stats import Stats
from jaxfs.programs.version import Version


@attrs.define(eq=False)
class Program:
    """``modes`` holds what chmod changed, by file name, over the defaults of the node table."""

    name: str
    extension: str
    meta: Meta
    device: str = ""  # empty: the first one
    modes: dict[str, int] = attrs.field(factory=dict)
    version: Version | None = None
    source_sha256: str = ""
    source_bytes: int = 0
    error: JaxfsError | None = attrs.field(factory=lambda: Invalid("nothing was written to it yet"))
    stats: Stats = attrs.field(factory=Stats)
    serial: int = attrs.field(factory=lambda: next(SERIALS))
    removed: bool = False
    _builds: int = 0
    _last_build: int = 0
    _serving_build: int = 0
    _changed: trio.Event = attrs.field(factory=trio.Event)

    @property
    def source_name(self) -> str:
        return f"{self.name}.{self.extension}"

    @property
    def state(self) -> str:
        """compiling | ready | failed.  A program that serves stays ready while it is replaced."""
        if self.version is not None:
            return "ready"
        return "compiling" if self._builds else "failed"

    @property
    def changed(self) -> trio.Event:
        """Set at the next change of state."""
        return self._changed

    def begin_build(self) -> int:
        """An attempt to replace the version begins; returns its number."""
        self._builds += 1
        self._last_build += 1
        self._wake()
        return self._last_build

    def end_build(self, number: int, outcome: Version | JaxfsError) -> bool:
        """The attempt has ended.  Returns whether its version serves now.

        An attempt that ends after a younger one was installed changes nothing.
        """
        self._builds -= 1
        latest = number > self._serving_build
        if latest and isinstance(outcome, Version):
            self.version, self.error, self._serving_build = outcome, None, number
        elif latest and isinstance(outcome, JaxfsError):
            self.error = outcome
        self._wake()
        return latest and isinstance(outcome, Version)

    async def serving(self) -> Version:
        """The version to call, waiting while the first one compiles.  Raises BrokenProgram."""
        while self.version is None and self._builds:
            await self._changed.wait()
        if self.version is None:
            raise BrokenProgram(
                f"programs/{self.name} has no version that works; read programs/{self.name}/error"
            )
        return self.version

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


@attrs.define(eq=False)
class Staged:
    """A file whose name begins with a dot: kept as it is until it is renamed."""

    name: str
    meta: Meta
    data: bytes = b""
    serial: int = attrs.field(factory=lambda: next(SERIALS))
