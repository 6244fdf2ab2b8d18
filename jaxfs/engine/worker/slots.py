"""How many runs a device works on at once, shared fairly between users.

XLA's CPU client takes 32 computations at a time for each device, and the thread that starts one
more waits until one of them ends.  The thread that reads messages starts small runs itself, so with
32 runs that do not end it would wait for ever, and with it every user.

Only what runs in a thread of its own takes a slot; small runs are started at once.  A run with
much data takes several: a few of them keep the memory busy, and more only delay each other and the
runs of other users.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator

import attrs

from jaxfs.engine.worker.cpu_shares import CpuShares

SLOTS = 24  # for each device: leaves places among XLA's 32 for small runs
SLOTS_PER_USER = 8
MAX_WEIGHT = 4
BYTES_PER_SLOT = 128 << 20


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
        running: How many slots are held.
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
        self._waiting: OrderedDict[int, deque[_Turn]] = OrderedDict()  # next user first
        self.running = 0

    @property
    def waiting(self) -> int:
        """How many runs wait for a slot."""
        with self._lock:
            return sum(map(len, self._waiting.values()))

    @contextlib.contextmanager
    def hold(self, user: int, weight: int = 1) -> Iterator[None]:
        """Waits for slots, and holds them for the time of a block.

        Args:
            user: For whom.
            weight: How many, see ``weight_of``.
        """
        weight = min(weight, self._per_user, self._total)
        self._take(user, weight)
        try:
            with self._shares.count(user) if self._shares else contextlib.nullcontext():
                yield
        finally:
            self.give_back(user, weight)

    def try_take(self, user: int) -> bool:
        """Takes a slot if the user may have one now; ``give_back`` ends it."""
        with self._lock:
            if not self._has_slots(user, 1):
                return False
            self._count(user, 1)
            return True

    def _take(self, user: int, weight: int) -> None:
        with self._lock:
            if user not in self._waiting and not self._is_full and self._has_slots(user, weight):
                self._count(user, weight)
                return
            turn = _Turn(weight)
            self._waiting.setdefault(user, deque()).append(turn)
        turn.has_come.wait()

    @property
    def _is_full(self) -> bool:
        """Whether a run waits that is at no limit of its user: nothing passes it."""
        return any(self._may_have(one, turns[0].weight) for one, turns in self._waiting.items())

    def _may_have(self, user: int, weight: int) -> bool:
        return self._running[user] + weight <= self._per_user

    def _has_slots(self, user: int, weight: int) -> bool:
        return self.running + weight <= self._total and self._may_have(user, weight)

    def _count(self, user: int, change: int) -> None:
        self.running += change
        self._running[user] += change
        if not self._running[user]:
            del self._running[user]

    def give_back(self, user: int, weight: int = 1) -> None:
        """Returns slots, and passes them to the next users in turn that may have them."""
        with self._lock:
            self._count(user, -weight)
            while (following := self._next_user()) is not None:
                turns = self._waiting.pop(following)
                turn = turns.popleft()
                self._count(following, turn.weight)
                if turns:
                    self._waiting[following] = turns  # behind the others
                turn.has_come.set()

    def _next_user(self) -> int | None:
        """Returns the first user that is at no limit of its own, if there are slots for it."""
        for user, turns in self._waiting.items():
            if self._may_have(user, turns[0].weight):
                return user if self._has_slots(user, turns[0].weight) else None
        return None


@attrs.define(eq=False)
class _Turn:
    """A run that waits.

    Attributes:
        weight: How many slots it takes.
        has_come: Set when it has them.
    """

    weight: int
    has_come: threading.Event = attrs.field(factory=threading.Event)


def weight_of(nbytes: int) -> int:
    """Returns how many slots a run takes, by the size of its inputs and outputs.

    >>> [weight_of(nbytes) for nbytes in (4, 200 << 20, 512 << 20, 1 << 40)]
    [1, 2, 4, 4]
    """
    return max(1, min(MAX_WEIGHT, nbytes // BYTES_PER_SLOT + 1))
