"""Runs that wait for other runs: which have not ended, and which have failed.

A chain of calls is executed here, in order, without a word to the front in between.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import Future

REMEMBERED = 4096  # failed runs; the front hears of a failure long before it has sent so many


class Dependencies:
    """By number of run.  ``begin`` and ``ended`` may be called from different threads."""

    def __init__(self) -> None:
        self._unfinished: dict[int, Future[None]] = {}
        self._failed: OrderedDict[int, None] = OrderedDict()
        self._skipped: set[int] = set()

    def begin(self, number: int) -> None:
        """A run does not end at once."""
        self._unfinished[number] = Future()

    def end(self, number: int, *, well: bool) -> None:
        """A run has ended, and what it was to write is written."""
        if not well:
            self._failed[number] = None
            while len(self._failed) > REMEMBERED:
                self._failed.popitem(last=False)
        self._skipped.discard(number)
        future = self._unfinished.pop(number, None)
        if future is not None:
            future.set_result(None)

    def skip(self, number: int) -> None:
        """A run that has not ended need not begin."""
        if number in self._unfinished:
            self._skipped.add(number)

    def take_skip(self, number: int) -> bool:
        """Whether ``skip`` was said of a run; forgets it."""
        is_skipped = number in self._skipped
        self._skipped.discard(number)
        return is_skipped

    def unfinished(self, after: Iterable[int]) -> list[Future[None]]:
        """What a run has to wait for."""
        found = [self._unfinished.get(number) for number in after]
        return [future for future in found if future is not None]

    def has_failed(self, after: Iterable[int]) -> bool:
        """Whether one of these runs, all of which have ended, failed."""
        return any(number in self._failed for number in after)
