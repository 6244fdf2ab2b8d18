"""The versions of one program: the current one, and the builds that make the next.

A build that works makes the current version, unless a younger one has; one that fails leaves the
current version as it is.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable

import attrs
import trio

from jaxfs.compiler.job_protocol import UntypedProgram
from jaxfs.errors import BrokenProgram, Cancelled, JaxfsError, OverQuota, recorded
from jaxfs.programs.build_key import BuildKey
from jaxfs.programs.compiled import CompiledProgram, ProgramVersion

log = logging.getLogger(__name__)
_NOT_LOGGED = (BrokenProgram, Cancelled, OverQuota)  # another program's failure, or a user's doing


@attrs.frozen
class BuildTarget:
    """What a build makes.

    Attributes:
        build_key: decides what is computed.
        device: the name of the device; empty: the first one.
    """

    build_key: BuildKey
    device: str


@attrs.frozen(eq=False)
class _Build:
    """A build under way.

    Attributes:
        target: what is built and for which device.
        scope: ends it.
    """

    target: BuildTarget
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)


@attrs.define(eq=False, kw_only=True)
class ProgramVersions(ABC):
    """The current version of a program and its builds.

    Attributes:
        compiled: the version that calls run; None if there is none or it is untyped.
        untyped: set instead of ``compiled`` if the input types come with each call.
        error: why the last build failed; None after one that did not.
        building: what is built now, the last one where there are several builds.
    """

    compiled: CompiledProgram | None = None
    untyped: UntypedProgram | None = None
    error: JaxfsError | None = attrs.field(default=None, converter=recorded)
    building: BuildKey | None = None
    _builds: int = 0  # under way
    _under_way: dict[int, _Build] = attrs.field(factory=dict)
    _waiters: int = 0
    _building_since_s: float = 0.0
    _last_build: int = 0
    _current_build: int = 0  # the one that made the current version
    _changed: trio.Event = attrs.field(factory=trio.Event)

    @property
    @abstractmethod
    def path(self) -> str:
        """Its directory, relative to the mount point."""

    @property
    @abstractmethod
    def removed(self) -> bool:
        """Whether it is no longer in the mount."""

    @abstractmethod
    def start_build(self) -> None:
        """Begins to build it."""

    @property
    def state(self) -> str:
        """Returns compiling, ready, untyped, failed or unused.

        A program with a version stays ready or untyped while that is replaced.
        """
        if self.compiled is not None:
            return "ready"
        if self.untyped is not None:
            return "untyped"
        if self._builds:
            return "compiling"
        return "failed" if self.error is not None else "unused"

    @property
    def needs_build(self) -> bool:
        """Whether its next use builds it: it has no version, and no verdict was reached."""
        is_open = self.error is None or not self.error.is_verdict
        return self.current is None and not self._builds and is_open and not self.removed

    @property
    def is_building(self) -> bool:
        """Whether a build is under way."""
        return self._builds > 0

    @property
    def current(self) -> ProgramVersion | None:
        """The version that calls use, compiled or untyped."""
        return self.compiled or self.untyped

    @property
    def changed(self) -> trio.Event:
        """Set at the next change of state."""
        return self._changed

    @property
    def building_usec(self) -> int:
        """Microseconds since the build under way began; 0 if there is none."""
        since_s = trio.current_time() - self._building_since_s
        return int(since_s * 1e6) if self._builds else 0

    def begin_build(self) -> int:
        """Notes that a build begins.  Returns its number, for `end_build`."""
        if not self._builds:
            self._building_since_s = trio.current_time()
        self._builds += 1
        self._last_build += 1
        self._wake()
        return self._last_build

    def is_latest(self, number: int) -> bool:
        """Whether no younger build has made the current version."""
        return number > self._current_build

    def end_build(self, number: int, outcome: ProgramVersion | JaxfsError) -> bool:
        """Notes that a build has ended.  Returns whether it made the current version.

        A build that ends after a younger one was installed changes nothing.
        """
        self._builds -= 1
        if not self._builds:
            self.building = None
        is_latest = self.is_latest(number)
        is_made = not isinstance(outcome, JaxfsError)
        if is_latest and isinstance(outcome, JaxfsError):
            self.error = outcome
            if not (outcome.is_verdict or isinstance(outcome, _NOT_LOGGED)):
                log.warning("%s was not compiled: %s: %s", self.path, outcome.errno_name, outcome)
        elif is_latest:
            self.compiled = outcome if isinstance(outcome, CompiledProgram) else None
            self.untyped = outcome if isinstance(outcome, UntypedProgram) else None
            self.error, self._current_build = None, number
        self._wake()
        return is_latest and is_made

    async def run_build(
        self, number: int, target: BuildTarget, make: Callable[[], Awaitable[ProgramVersion]]
    ) -> ProgramVersion | None:
        """Returns what a build makes.

        It ends where a younger build makes something else, and begins again if that one fails.

        Args:
            number: of the build, from `begin_build`.
            target: what it makes.
            make: makes it.

        Returns:
            The version; None if a younger build has made the current version.

        Raises:
            Cancelled: the program was removed.
            JaxfsError: what ``make`` raised.
        """
        while True:
            while self._others(target, number + 1, self._last_build + 1):
                await self._changed.wait()
            if self._is_unwanted:
                raise Cancelled(f"{self.path} was removed meanwhile, while it compiled")
            if not self.is_latest(number):
                return None
            for older in self._others(target, 0, number):
                older.scope.cancel()
            build = self._under_way[number] = _Build(target)
            self.building = target.build_key
            try:
                with build.scope:
                    return await make()
            finally:
                del self._under_way[number]

    def _others(self, target: BuildTarget, start: int, stop: int) -> list[_Build]:
        """Returns the builds under way of something else, of numbers from a range."""
        wanted = range(start, stop)
        return [b for n, b in self._under_way.items() if n in wanted and b.target != target]

    @property
    def _is_unwanted(self) -> bool:
        """Whether it was removed, and no call waits for it either."""
        return self.removed and not self._waiters

    def cancel_builds(self) -> None:
        """Ends the builds under way, unless a call waits for one."""
        if not self._waiters:
            self._end_builds()

    def _end_builds(self) -> None:
        for build in self._under_way.values():
            build.scope.cancel()

    async def wait_compiled(self) -> ProgramVersion:
        """Returns the current version, after a build if there is none yet.

        Raises:
            BrokenProgram: no build has worked.
        """
        if self.current is not None:
            return self.current
        if self.needs_build:
            self.start_build()
        self._waiters += 1
        try:
            while self.current is None and self._builds:
                await self._changed.wait()
        finally:
            self._waiters -= 1
            if self.removed:
                self.cancel_builds()
        if self.current is None:
            raise BrokenProgram(f"{self.path} has no version that works; read {self.path}/error")
        return self.current

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
