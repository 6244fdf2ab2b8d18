"""Which user gets an engine of its own, because its runs delay or end those of others.

A run cannot be stopped alone, and users share the threads of a worker: runs that do not end delay
those of others, and to end them is to end the worker.  So a user with such runs is separated: it
gets a worker of its own, and comes back to the shared one after a time without a run.  A user that
is alone is never separated.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

FIRST_STAY_S = 60.0  # without a run, before a separated user is back; twice as long each time
MAX_STAY_S = 24 * 3600.0
SAME_KILL_S = 1.0  # runs that are ended within this time are ended together
KILL_MEMORY_S = 60.0  # a user that has a worker ended twice within this time is separated


@attrs.frozen
class UserLoad:
    """What one user has in the shared engine at a point in time.

    Attributes:
        uid: The user.
        overdue: How many of its runs take longer than ``share_after``.
        oldest: The number of the oldest of them; 0 if there is none.
        is_waiting: Whether its next run has waited for a place as long.
    """

    uid: int
    overdue: int = 0
    oldest: int = 0
    is_waiting: bool = False


def user_to_separate(loads: Sequence[UserLoad]) -> int | None:
    """Returns the user that is in the way of another one, or None.

    Whether a run computes or waits for another one inside the worker is not known from outside: of
    the users whose runs take long, the one with the most such runs is separated.

    >>> user_to_separate([UserLoad(1001, overdue=36, oldest=1), UserLoad(1002, is_waiting=True)])
    1001
    >>> user_to_separate([UserLoad(1001, overdue=36, oldest=1)])
    """
    overdue = [load for load in loads if load.overdue]
    if not overdue:
        return None
    found = max(overdue, key=lambda load: (load.overdue, -load.oldest))
    others = (load for load in loads if load is not found)
    return found.uid if any(load.overdue or load.is_waiting for load in others) else None


@attrs.define
class Stay:
    """When a user is separated, and for how long.

    Attributes:
        stay_s: How long it has to be without a run before it is back.
        idle_since_s: Since when it has none, by trio's clock; 0 while it has one.
        killed_at_s: When a run of it was ended with its worker.
    """

    stay_s: float = FIRST_STAY_S / 2
    idle_since_s: float = 0.0
    killed_at_s: float = float("-inf")

    def begin(self) -> None:
        """Begins a separation, twice as long as the one before."""
        self.stay_s = min(2 * self.stay_s, MAX_STAY_S)
        self.idle_since_s = 0.0

    def is_over(self, now_s: float, *, is_idle: bool) -> bool:
        """Returns whether the user may come back, and notes whether it has runs now."""
        if not is_idle:
            self.idle_since_s = 0.0
        elif not self.idle_since_s:
            self.idle_since_s = now_s
        return is_idle and now_s - self.idle_since_s >= self.stay_s

    def has_killed_again(self, now_s: float) -> bool:
        """Notes that a run of the user is ended with its worker.

        Returns:
            Whether another one was not long ago.
        """
        again = SAME_KILL_S <= now_s - self.killed_at_s < KILL_MEMORY_S
        self.killed_at_s = now_s
        return again


@attrs.define
class Head:
    """The run at the head of a queue, and since when.

    Attributes:
        run: The run; None if the queue is empty.
        since_s: When it was first seen there.
    """

    run: object = None
    since_s: float = 0.0

    def age_s(self, run: object, now_s: float) -> float:
        """Returns for how long this run has been at the head, by the looks so far."""
        if run is not self.run:
            self.run, self.since_s = run, now_s
        return now_s - self.since_s if run is not None else 0.0
