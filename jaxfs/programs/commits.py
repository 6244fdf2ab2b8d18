"""Commits: what a writer began belongs to the mount, not to the request that waits for it.

The flush of a file has to wait where a program still compiles or a long text is read.  Its process
may not: it exits without close(2), as sh, python and node do, gets a Ctrl-C, or waits longer than
the kernel lets a request wait.  So the work is a task of the mount.  The request only waits for it,
and a later one of the same file finds it under way.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TypeVar

import trio

from jaxfs.errors import JaxfsError, from_os_error
from jaxfs.programs.single_flight import SingleFlight

Found = TypeVar("Found")
Work = Callable[[], Awaitable[None]]
# Of the commit that a task is part of: it waits only for those that began before it, so that no two
# commits wait for each other.
_NUMBER: ContextVar[float] = ContextVar("number of the commit", default=math.inf)


class Commit(SingleFlight[None]):
    """One commit, for any number of waiters.  Its failure has a line in error_log already."""

    async def wait(self) -> None:
        """Waits for its end; a wait that is interrupted does not end it.

        Raises:
            JaxfsError: What the work raised, at each call.
        """
        try:
            await super().wait()
        except JaxfsError as error:
            error.is_logged = True
            raise


class Unsettled(Exception):
    """An object was looked up while a commit of it is under way: wait, and look again."""

    def __init__(self, ended: trio.Event) -> None:
        super().__init__("a commit is under way")
        self.ended = ended


class Commits:
    """The commits of a mount that are under way, by the object that they change."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._numbers = itertools.count(1)
        self._under_way: dict[object, dict[int, Commit]] = {}

    def begin(self, target: object, work: Work, failed: Callable[[Exception], None]) -> Commit:
        """Begins a commit.

        Args:
            target: The object that it changes.
            work: Does it.
            failed: Called with what the work raised, once, whether or not a process waits.
        """
        number = next(self._numbers)

        async def commit() -> None:
            _NUMBER.set(number)
            try:
                await work()
            except OSError as error:
                translated = from_os_error(error, "keeping what was written")
                failed(translated)
                raise translated from error
            except Exception as error:
                failed(error)
                raise
            finally:
                del self._under_way[target][number]
                if not self._under_way[target]:
                    del self._under_way[target]

        begun = Commit(self._nursery, commit)
        self._under_way.setdefault(target, {})[number] = begun
        return begun

    def under_way(self, target: object) -> list[Commit]:
        """Returns the commits of an object, in the order in which they began.

        In a commit these are only the ones that began before it.
        """
        commits = self._under_way.get(target)
        if commits is None:
            return []
        own = _NUMBER.get()
        return [commit for number, commit in commits.items() if number < own]

    async def settle(self, target: object) -> None:
        """Waits for the commits of an object that are under way, whatever becomes of them."""
        for commit in self.under_way(target):
            await commit.ended.wait()

    async def settle_all(self) -> None:
        """Waits until no commit is under way: the mount ends, or a test wants to see them all."""
        while self._under_way:
            for target in tuple(self._under_way):
                await self.settle(target)

    def check_settled(self, target: object) -> None:
        """Checks that an object can be used.

        Raises:
            Unsettled: A commit of it is under way.
        """
        commits = self.under_way(target)
        if commits:
            raise Unsettled(commits[-1].ended)


async def look_up(find: Callable[[], Found]) -> Found:
    """Returns what ``find`` returns, once the commits that it meets have ended."""
    while True:
        try:
            return find()
        except Unsettled as unsettled:
            await unsettled.ended.wait()
