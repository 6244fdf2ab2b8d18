"""How many runs a device works on at once, shared fairly between users.

XLA's CPU client takes 32 computations at a time for each device, and the thread that starts one
more waits until one of them ends.  The thread that reads messages starts small runs itself, so with
32 runs that do not end it would wait for ever, and with it every user.

Only what runs in a thread of its own takes a slot; small runs are started at once.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator

from jaxfs.engine.worker.cpu_shares import CpuShares

SLOTS = 24  # for each device: leaves places among XLA's 32 for small runs
SLOTS_PER_USER = 8


class Slots:
    """The slots of one device; methods may be called from any thread.

    >>> slots = Slots(total=2, per_user=1)
    >>> with slots.hold(1001):
    ...     with slots.hold(1002):
    ...         slots.running
    2

    Args:
        total: How many runs of all users there may be at once.
        per_user: How many of one user.
        shares: Counts the threads that hold a slot; None if they need not share processors.

    Attributes:
        running: How many runs hold a slot.
    """

    def __init__(
        self,
        total: int = SLOTS,
        per_user: int = SLOTS_PER_USER,
        shares: CpuShares | None = None,
    ) -> None:
        self._shares = shares
        self._total = total
        self._per_user = per_user
        self._lock = threading.Lock()
        self._running: Counter[int] = Counter()
        self._waiting: OrderedDict[int, deque[threading.Event]] = OrderedDict()  # next user first
        self.running = 0

    @property
    def waiting(self) -> int:
        """How many runs wait for a slot."""
        with self._lock:
            return sum(map(len, self._waiting.values()))

    @contextlib.contextmanager
    def hold(self, user: int) -> Iterator[None]:
        """Waits for a slot, and holds it for the time of a block."""
        self._take(user)
        try:
            with self._shares.count(user) if self._shares else contextlib.nullcontext():
                yield
        finally:
            self.give_back(user)

    def try_take(self, user: int) -> bool:
        """Takes a slot if the user may have one now; ``give_back`` ends it."""
        with self._lock:
            if not self._has_slot(user):
                return False
            self._count(user, 1)
            return True

    def _take(self, user: int) -> None:
        with self._lock:
            if self._has_slot(user):  # whoever waits is at a limit of its own
                self._count(user, 1)
                return
            turn = threading.Event()
            self._waiting.setdefault(user, deque()).append(turn)
        turn.wait()

    def _has_slot(self, user: int) -> bool:
        return self.running < self._total and self._running[user] < self._per_user

    def _count(self, user: int, change: int) -> None:
        self.running += change
        self._running[user] += change
        if not self._running[user]:
            del self._running[user]

    def give_back(self, user: int) -> None:
        """Returns a slot, and passes it to the next user in turn that may have one."""
        with self._lock:
            self._count(user, -1)
            following = next(filter(self._has_slot, self._waiting), None)
            if following is None:
                return
            self._count(following, 1)
            turns = self._waiting.pop(following)
            turn = turns.popleft()
            if turns:
                self._waiting[following] = turns  # behind the others
        turn.set()
