"""How much of the host's memory the transfers of a device take at the same time.

XLA copies an array to pinned memory on its way to a device, and on its way back.  It takes this
memory from a pool that grows up to 64 GiB, never shrinks and cannot be swapped, and that no limit
of the mount knows of.  The pool becomes as large as the transfers that were under way together, so
these are bounded.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Iterator

MOST_BYTES = 8 << 30  # of all devices
PART_OF_MEMORY = 8  # one in so many bytes of the machine, if that is less


class StagingBudget:
    """The bytes of the transfers of one device; methods may be called from any thread.

    Runs get their part in the order in which they ask, so that large ones wait no longer than
    small ones.

    >>> budget = StagingBudget(100)
    >>> with budget.hold(60), budget.hold(40):
    ...     budget.held_bytes
    100

    Args:
        limit_bytes: The most for all transfers together; one that is larger goes alone.

    Attributes:
        held_bytes: What is held now.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()
        self.held_bytes = 0

    @property
    def waiting(self) -> int:
        """How many runs wait for their part."""
        with self._changed:
            return len(self._waiting)

    @contextlib.contextmanager
    def hold(self, nbytes: int) -> Iterator[None]:
        """Waits until so many bytes may be staged, and holds them for the time of a block."""
        part = min(nbytes, self._limit_bytes)
        turn = object()
        with self._changed:
            self._waiting.append(turn)
            self._changed.wait_for(lambda: self._may_begin(turn, part))
            self._waiting.popleft()
            self.held_bytes += part
            self._changed.notify_all()  # the next one may fit too
        try:
            yield
        finally:
            with self._changed:
                self.held_bytes -= part
                self._changed.notify_all()

    def _may_begin(self, turn: object, part: int) -> bool:
        return self._waiting[0] is turn and self.held_bytes + part <= self._limit_bytes


def default_limit_bytes(device_count: int) -> int:
    """Returns the bytes that transfers of each of some devices may stage.

    >>> default_limit_bytes(2) == default_limit_bytes(1) // 2 > 0
    True
    """
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int(min(memory // PART_OF_MEMORY, MOST_BYTES)) // device_count
