"""Runs that wait for other runs.

A chain of calls is executed here, in order, without a message to the front in between.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import Future

KEPT_FAILURES = 4096  # the front learns of a failure long before it has sent so many runs


class Dependencies:
    """Which runs have not ended, and which have failed, by number.

    ``begin`` and ``end`` may be called from different threads.

    >>> dependencies = Dependencies()
    >>> dependencies.begin(1)
    >>> len(dependencies.unfinished([1]))
    1
    >>> dependencies.end(1, well=False)
    >>> dependencies.unfinished([1]), dependencies.has_failed([1])
    ([], True)
    """

    def __init__(self) -> None:
        self._unfinished: dict[int, Future[None]] = {}
        self._failed: OrderedDict[int, None] = OrderedDict()
        self._skipped: set[int] = set()

    def begin(self, number: int) -> None:
        """Records a run that does not end at once."""
        self._unfinished.setdefault(number, Future())  # a run that is tried again goes on

    def end(self, number: int, *, well: bool) -> None:
        """Records that a run has ended, and that its outputs are written if it ended ``well``."""
        if not well:
            self._failed[number] = None
            while len(self._failed) > KEPT_FAILURES:
                self._failed.popitem(last=False)
        elif self._failed:
            self._failed.pop(number, None)  # it was sent again
        self._skipped.discard(number)
        future = self._unfinished.pop(number, None)
        if future is not None:
            future.set_result(None)

    def skip(self, number: int) -> None:
        """Records that a run need not begin.

        A run that has ended is ignored: the request and the run's answer may have crossed.
        """
        if number in self._unfinished:
            self._skipped.add(number)

    def take_skip(self, number: int) -> bool:
        """Returns whether a run need not begin, and forgets it."""
        is_skipped = number in self._skipped
        self._skipped.discard(number)
        return is_skipped

    def unfinished(self, numbers: Iterable[int]) -> list[Future[None]]:
        """Returns what to wait for before a run may read the outputs of others.

        Runs that have ended, or that ended at once and were never recorded, have no future.
        """
        found = [self._unfinished.get(number) for number in numbers]
        return [future for future in found if future is not None]

    def has_failed(self, numbers: Iterable[int]) -> bool:
        """Returns whether one of these runs, all of which have ended, failed."""
        return any(number in self._failed for number in numbers)
