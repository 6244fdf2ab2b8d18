"""A run of the scheduler, and the queue of one user's runs."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol, TypeVarTuple

import attrs
import trio

from jaxfs.arrays.run_inputs import PendingInput, RunInput, ScheduledRun, release_inputs
from jaxfs.calls.separation import Head, Stay, UserLoad
from jaxfs.engine.interface import Engine, Executable, Outcome
from jaxfs.errors import TimedOut

Arguments = TypeVarTuple("Arguments")


def call_soon(do: Callable[[*Arguments], object], *arguments: *Arguments) -> None:
    """Calls a function from the event loop: in a long chain of runs the stack must not grow.

    Args:
        do: The function; it must not raise.
        *arguments: Its arguments.
    """
    trio.lowlevel.current_trio_token().run_sync_soon(do, *arguments)


class RunOwner(Protocol):
    """The scheduler, as far as a run needs it."""

    def finish(self, run: Run) -> None:
        """Removes a run that has ended."""

    def kill(self, run: Run) -> None:
        """Cancels a run, and ends its worker if it continues."""


@attrs.frozen
class RunLimits:
    """How long runs may take.

    Attributes:
        run_s: In the engine; 0 for no limit.
        load_s: Until the engine has compiled and loaded the program.
    """

    run_s: float = 0.0
    load_s: float = math.inf


@attrs.define(eq=False)
class Run:
    """One execution of an executable, from submission to its end.

    Attributes:
        scheduler: The scheduler it was submitted to.
        user: The queue of its user.
        executable: What is executed.
        inputs: The inputs, retained; empty once the engine has them.
        done: Called once, with the outcome.
        shared_as: The producer's number if other runs may take its outputs before it has ended.
        awaited: The inputs that were not in memory at submission.
        is_parked: Whether it is in no queue: it waits for a run of another user or engine.
        number: The engine's number of it; 0 while it waits here.
        limits: How long it may take.
        since_s: When it was first seen in the engine, by trio's clock; 0 before.
        loads_since_s: When the engine was first seen loading its executable; 0 before.
        has_ended: Whether ``done`` was called.
    """

    scheduler: RunOwner
    user: UserQueue
    executable: Executable
    inputs: tuple[RunInput, ...]
    done: Callable[[Outcome], None]
    shared_as: int = 0
    awaited: tuple[PendingInput, ...] = ()
    is_parked: bool = False
    number: int = 0
    limits: RunLimits = attrs.field(factory=RunLimits)
    since_s: float = 0.0
    loads_since_s: float = 0.0
    has_ended: bool = False

    def end(self, outcome: Outcome) -> None:
        """Ends the run.  Only the first outcome counts: one that follows a timeout is released."""
        if self.has_ended:
            release_inputs((outcome.outputs,))
            return
        self.has_ended = True
        self.done(self._with_cause(outcome) if self.awaited else outcome)
        self.scheduler.finish(self)  # after done(): the next run may take outputs of this one
        awaited, self.awaited = self.awaited, ()
        for value in awaited:
            value.dependents.discard(self)
            call_soon(value.release)  # may end another run, and so on down a long chain

    def _with_cause(self, outcome: Outcome) -> Outcome:
        """Replaces the error of a failed outcome by that of the input that caused it.

        Returns:
            A new outcome; the same one if the run did not fail, or no input of it did.
        """
        failures = [value.failure() for value in self.awaited] if outcome.error else []
        cause = next((failure for failure in failures if failure is not None), None)
        return outcome if cause is None else Outcome(error=cause)

    def is_long(self, now_s: float, after_s: float) -> bool:
        """Returns whether it has been in the engine for ``after_s``, by the looks so far."""
        return bool(self.since_s) and now_s - self.since_s >= after_s

    def expire(self, reason: str) -> None:
        """Ends the run with TimedOut, and the worker if the run continues there."""
        self.end(Outcome(error=TimedOut(reason)))
        self.scheduler.kill(self)

    def overdue(self, now_s: float, *, has_restarted: bool) -> str:
        """Returns why the run is to be ended now; empty if it is not.

        The time begins anew while the run waits for another one or for its executable, which the
        engine may have to compile first, and with another worker.

        Args:
            now_s: The time by trio's clock.
            has_restarted: Whether the worker is another one than at the last look.
        """
        loads = self.user.place.engine.is_loading(self.number)
        if not loads or has_restarted:
            self.loads_since_s = 0.0
        if loads:
            self.loads_since_s = self.loads_since_s or now_s
            if now_s - self.loads_since_s >= self.limits.load_s:
                return (
                    f"the engine did not load the program in {self.limits.load_s:g} s "
                    "(-o compile_timeout), and was started again"
                )
        waits = any(not value.done.is_set() for value in self.awaited)
        if waits or loads or not self.since_s or has_restarted:
            self.since_s = now_s
        elif 0 < self.limits.run_s <= now_s - self.since_s:
            return (
                f"the run took over {self.limits.run_s:g} s (-o call_timeout) and was ended; "
                "ask for less, or mount with a longer limit"
            )
        return ""

    def kill(self) -> None:
        """Cancels the run, and ends the worker if the run continues; see ``Scheduler.kill``."""
        if not self.has_ended:
            self.scheduler.kill(self)

    def precedes(self, other: ScheduledRun) -> bool:
        """Returns whether an engine that gets both runs gets this one first: they share a queue.

        A parked run is in no queue yet, so that nothing is known of its place.
        """
        return isinstance(other, Run) and other.user is self.user and not self.is_parked


@attrs.define(eq=False)
class Place:
    """An engine, as the scheduler uses it.

    Attributes:
        engine: The engine.
        restarts: Its number of restarts when the time limits were checked last.
        running: How many runs it has now.
    """

    engine: Engine
    restarts: int = 0
    running: int = 0

    def has_restarted(self) -> bool:
        """Returns whether runs began anew since the last call, or have not begun yet."""
        restarts, self.restarts = self.restarts, self.engine.restarts
        return self.engine.state != "ready" or restarts != self.restarts


@attrs.define(eq=False)
class UserQueue:
    """The unfinished runs of one user.

    Attributes:
        uid: The user.
        place: Where they run.
        running: Those in the engine.
        waiting: Those that wait for a place in it, in order.
        unfinished: How many there are, parked ones included.
        stay: How long the user keeps an engine of its own.
        head: Of the waiting runs.
    """

    uid: int
    place: Place
    running: set[Run] = attrs.field(factory=set)
    waiting: OrderedDict[Run, None] = attrs.field(factory=OrderedDict)
    unfinished: int = 0
    stay: Stay = attrs.field(factory=Stay)
    head: Head = attrs.field(factory=Head)

    def load(self, now_s: float, after_s: float) -> UserLoad:
        """Returns what the user has in its engine now.

        Args:
            now_s: The time by trio's clock.
            after_s: How long a run takes that is overdue, or waits that has to wait.
        """
        long = [run.number for run in self.running if run.is_long(now_s, after_s)]
        waited_s = self.head.age_s(next(iter(self.waiting), None), now_s)
        return UserLoad(self.uid, len(long), min(long, default=0), waited_s >= after_s)
