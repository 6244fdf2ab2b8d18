"""Busy waiting: when an answer is expected sooner than a sleeping process wakes up.

Waking a process on another core takes longer than a small run does (30-40 us against 5-20), and a
turn of the event loop costs a few system calls besides.  So code that expects an answer soon polls
for it first, for a bounded time.  Each place has a ``SpinPolicy`` of its own:

==============================  =========  =====================================================
place                           budget     waits for
==============================  =========  =====================================================
``fuse.request_loop``           120 us     the kernel's next request
``calls.conversation``, write   100 us     the outcome of a run that mostly ends within it
``calls.conversation``, read     50 us     the same, by a reader
``engine.worker.server``        100 us     the next message, after a run that ended at once
``engine.worker.device_server``  60 us     the outputs of a small run on a GPU
==============================  =========  =====================================================

A wait in vain takes time of a core from those that are waited for.  So a *miss* makes the policy
skip the next waits.

The environment variable ``JAXFS_SPIN=0`` turns all busy waiting off, in the front and in its
workers: for machines with one core, for measurements, and to find out whether it is to blame.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from typing import TypeVar

SWITCH = "JAXFS_SPIN"  # environment variable; 0 is off

Found = TypeVar("Found")


def is_enabled() -> bool:
    """Returns whether this process may wait busily: unless ``JAXFS_SPIN=0`` is set."""
    return os.environ.get(SWITCH) != "0"


def spin(poll: Callable[[], Found], budget_s: float) -> Found:
    """Calls ``poll`` until its result is true or the time is up, and returns the last result.

    Args:
        poll: Looks once, without waiting.
        budget_s: Seconds; with 0 it looks once.

    >>> looks = iter([0, 0, 3])
    >>> spin(lambda: next(looks), budget_s=60)
    3
    >>> spin(list, budget_s=0)
    []
    """
    deadline = time.perf_counter() + budget_s
    while True:
        found = poll()
        if found or time.perf_counter() >= deadline:
            return found


class SpinPolicy:
    """How long one place waits busily, and when it does not.

    Args:
        budget_s: Seconds of one wait.
        miss_cost: How many waits are skipped after one that was in vain.
        skips: How many are skipped at first.

    Attributes:
        skips: How many waits will be skipped; infinite where busy waiting is off.

    >>> policy = SpinPolicy(50e-6, miss_cost=2)
    >>> policy.missed()
    >>> [policy.take_budget() for _ in range(3)]
    [0.0, 0.0, 5e-05]
    """

    __slots__ = ("_budget_s", "_miss_cost", "skips")

    def __init__(self, budget_s: float, miss_cost: int = 0, skips: int = 0) -> None:
        self._budget_s = budget_s
        self._miss_cost = miss_cost
        self.skips: float = skips if is_enabled() else math.inf

    def take_budget(self) -> float:
        """Returns the seconds to wait busily now, 0.0 if this wait is skipped.

        Skips are counted down here, so it is called once for each wait.
        """
        if self.skips:
            self.skips -= 1
            return 0.0
        return self._budget_s

    def missed(self) -> None:
        """Notes that a wait was in vain."""
        self.skips = max(self.skips, self._miss_cost)

    def wait(self, poll: Callable[[], Found]) -> Found:
        """Returns the first true result of ``poll``, or its last one when the time is up.

        Looks once before anything else: what is there already costs no wait.
        """
        found = poll()
        if not found:
            budget_s = self.take_budget()
            if budget_s:
                found = spin(poll, budget_s)
                if not found:
                    self.missed()
        return found
