"""The scheduler of one engine: decides which run is next, fairly between users.

An engine executes runs in the order in which it gets them.  So it is given no more than it can work
on, and further runs wait here, in a queue for each user: a free place is given to the next
user in turn.  A user with 5,000 calls delays another one only by the few that are in the engine.

A run may take outputs of a run that has not ended.  If both are one user's and use one engine, they
follow each other there; otherwise the later one is parked here until the earlier one has ended.

The scheduler also enforces the time limit.  An engine cannot stop a run alone: a run that
does not end is ended together with its worker, and the engine starts the others' runs again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TypeVarTuple

import attrs
import trio

from jaxfs.arrays.run_inputs import PendingInput, RunInput, ScheduledRun, release_inputs
from jaxfs.engine.interface import Engine, Executable, Input, Outcome, OutputRef, Range
from jaxfs.errors import Cancelled, JaxfsError, OverQuota, TimedOut, from_os_error

MAX_IN_ENGINE = 192  # fewer than an engine takes, so that none waits in a queue there
MAX_IN_ENGINE_PER_USER = 64  # leaves places for others where one user's runs do not end
KILL_GRACE_S = 0.5  # most runs end by themselves sooner than a worker starts
ABANDONED_LIMIT_S = 10.0  # for a run of a conversation that was closed: its result is not read
CHECKS_PER_LIMIT = 20  # how often the time limit is checked while a run may take
MAX_PAUSE_S = 1.0  # between two checks
_READY = frozenset({Range, bytes})  # the types of inputs that no run has to make first
Arguments = TypeVarTuple("Arguments")


def call_soon(do: Callable[[*Arguments], object], *arguments: *Arguments) -> None:
    """Calls a function from the event loop: in a long chain of runs the stack must not grow.

    Args:
        do: The function; it must not raise.
        *arguments: Its arguments.
    """
    trio.lowlevel.current_trio_token().run_sync_soon(do, *arguments)


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
        limit_s: How long it may take in the engine; 0 for no limit.
        since_s: When it was first seen in the engine, by trio's clock; 0 before.
        has_ended: Whether ``done`` was called.
    """

    scheduler: Scheduler
    user: _UserQueue
    executable: Executable
    inputs: tuple[RunInput, ...]
    done: Callable[[Outcome], None]
    shared_as: int = 0
    awaited: tuple[PendingInput, ...] = ()
    is_parked: bool = False
    number: int = 0
    limit_s: float = 0.0
    since_s: float = 0.0
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

    def kill(self) -> None:
        """Cancels the run, and ends the worker if the run continues; see ``Scheduler.kill``."""
        self.scheduler.kill(self)

    def precedes(self, other: ScheduledRun) -> bool:
        """Returns whether an engine that gets both runs gets this one first: they share a queue.

        A parked run is in no queue yet, so that nothing is known of its place.
        """
        return isinstance(other, Run) and other.user is self.user and not self.is_parked


@attrs.define(eq=False)
class _UserQueue:
    """The unfinished runs of one user.

    Attributes:
        uid: The user.
        running: Those in the engine.
        waiting: Those that wait for a place in it, in order.
        unfinished: How many there are, parked ones included.
    """

    uid: int
    running: set[Run] = attrs.field(factory=set)
    waiting: OrderedDict[Run, None] = attrs.field(factory=OrderedDict)
    unfinished: int = 0


class Scheduler:
    """Passes runs to one engine, fairly between users.

    Args:
        engine: The engine.
        nursery: For tasks that wait, as long as the mount exists.
        max_calls: How many unfinished runs a user may have; 0 for no limit.
        limit_s: How long a run may take in the engine; 0 for no limit.
    """

    def __init__(
        self, engine: Engine, nursery: trio.Nursery, *, max_calls: int = 0, limit_s: float = 0.0
    ) -> None:
        self._engine = engine
        self._nursery = nursery
        self._max_calls = max_calls
        self._limit_s = limit_s
        self._users: dict[int, _UserQueue] = {}  # never shrinks: there are not many users
        self._turns: OrderedDict[int, _UserQueue] = OrderedDict()  # of those that wait, next first
        self._in_engine = 0
        self._restarts = engine.restarts
        nursery.start_soon(self._watch)

    @property
    def waiting(self) -> int:
        """How many runs of all users wait for a place in the engine."""
        return sum(len(user.waiting) for user in self._turns.values())

    def unfinished(self, uid: int) -> int:
        """Returns how many runs of a user have not ended."""
        user = self._users.get(uid)
        return user.unfinished if user is not None else 0

    def submit(
        self,
        uid: int,
        executable: Executable,
        inputs: tuple[RunInput, ...],
        done: Callable[[Outcome], None],
        *,
        shared_as: int = 0,
    ) -> Run:
        """Submits a run.

        Args:
            uid: The user; the run joins the queue of this user.
            executable: What is executed.
            inputs: The inputs, retained; the scheduler releases them, also where this raises.
            done: Called once with the outcome, from the event loop, not before this returns.
            shared_as: As of ``Engine.submit``.

        Raises:
            OverQuota: The user has too many unfinished runs.
        """
        user = self._users.get(uid)
        if user is None:
            user = self._users[uid] = _UserQueue(uid)
        if 0 < self._max_calls <= user.unfinished:
            release_inputs(inputs)
            raise OverQuota(
                f"{user.unfinished} calls of user {uid} are unfinished, the most a user may have "
                f"(-o max_calls_per_user); wait for some, or remove their results"
            )
        user.unfinished += 1
        run = Run(self, user, executable, inputs, done, shared_as, limit_s=self._limit_s)
        if _READY.issuperset(map(type, inputs)):
            self._enqueue(run)
        else:
            self._enqueue_dependent(run)
        return run

    def _enqueue(self, run: Run) -> None:
        """Starts a run if there is a place for it, or else adds it to its user's queue."""
        user = run.user
        if self._has_place(user) and not user.waiting:
            self._start(run)
        else:
            user.waiting[run] = None
            self._turns[user.uid] = user

    def _enqueue_dependent(self, run: Run) -> None:
        """Enqueues a run behind the runs it depends on, or parks it until they have ended."""
        run.awaited = tuple(v for v in run.inputs if not isinstance(v, Range | bytes))
        for value in run.awaited:
            value.dependents.add(run)
        if all(
            value.done.is_set() or (value.run is not None and value.run.precedes(run))
            for value in run.awaited
        ):
            self._enqueue(run)
        else:
            run.is_parked = True
            self._nursery.start_soon(self._park, run)

    async def _park(self, run: Run) -> None:
        """Enqueues a run when all that it waits for has ended, unless it has ended before."""
        for value in run.awaited:
            await value.done.wait()
        if not run.has_ended:
            run.is_parked = False
            self._enqueue(run)

    def poll(self, wait_s: float = 0.0) -> None:
        """Takes the answers of the engine that have arrived.

        Args:
            wait_s: How long to wait for one if there is none; this blocks the event loop.
        """
        self._engine.poll(wait_s)

    def _has_place(self, user: _UserQueue) -> bool:
        return self._in_engine < MAX_IN_ENGINE and len(user.running) < MAX_IN_ENGINE_PER_USER

    def _start(self, run: Run) -> None:
        """Passes a run to the engine, or ends it where an input of it failed."""
        inputs: tuple[Input | OutputRef, ...] = run.inputs  # type: ignore[assignment]  # unless awaited
        if run.awaited:
            try:
                inputs = self._resolve(run)
            except JaxfsError as error:
                call_soon(run.end, Outcome(error=error.recorded()))
                return
        self._in_engine += 1
        run.user.running.add(run)
        run.number = self._engine.submit(run.executable, inputs, run.end, shared_as=run.shared_as)
        release_inputs(value for value in inputs if not isinstance(value, OutputRef))
        run.inputs = ()

    def _resolve(self, run: Run) -> tuple[Input | OutputRef, ...]:
        """Returns the inputs with the awaited ones as they are now.

        Raises:
            JaxfsError: The error of an awaited input that failed.
            NoSpace: An input cannot be copied.
        """
        for value in run.awaited:
            failure = value.failure()
            if failure is not None:
                raise failure
        found = dict[PendingInput, Input | OutputRef]()
        try:
            for value in run.awaited:
                found[value] = value.resolve() if value.done.is_set() else value.output_ref()
        except OSError as error:
            release_inputs(one for one in found.values() if not isinstance(one, OutputRef))
            raise from_os_error(error, "keeping the inputs of the run") from error
        return tuple(
            value if isinstance(value, Range | bytes) else found[value] for value in run.inputs
        )

    def finish(self, run: Run) -> None:
        """Removes a run that has ended, and starts those that have a place now."""
        user = run.user
        user.unfinished -= 1
        if not run.number:
            user.waiting.pop(run, None)
            if not user.waiting:
                self._turns.pop(user.uid, None)
            release_inputs(value for value in run.inputs if isinstance(value, Range))
            run.inputs = ()
            return
        self._in_engine -= 1
        user.running.discard(run)
        while self._turns:
            following = next(filter(self._has_place, self._turns.values()), None)
            if following is None:
                return
            first, _ = following.waiting.popitem(last=False)
            self._turns.move_to_end(following.uid)
            if not following.waiting:
                del self._turns[following.uid]
            self._start(first)

    def cancel(self, run: Run, *, kill: bool = False) -> None:
        """Ends a run with Cancelled: at once if it waits here, else as ``Engine.cancel``.

        Args:
            run: The run; nothing happens if it has ended.
            kill: Whether to end the worker where the run continues, as ``Engine.cancel``.
        """
        if run.number:
            self._engine.cancel(run.number, kill=kill)
        elif not run.has_ended:
            run.end(Outcome(error=Cancelled("the run was cancelled")))

    def kill(self, run: Run) -> None:
        """Cancels a run, and ends its worker if it continues.

        It gets ``KILL_GRACE_S`` to end by itself, as the worker's other runs have to start again.
        """
        self.cancel(run)
        if run.number:
            self._nursery.start_soon(self._kill_later, run)

    async def _kill_later(self, run: Run) -> None:
        """Ends the worker of a cancelled run, unless the run has ended within ``KILL_GRACE_S``."""
        await trio.sleep(KILL_GRACE_S)
        self.cancel(run, kill=True)

    def abandon(self, runs: Iterable[Run]) -> None:
        """Cancels runs that will not be read.

        Those in the engine may take ``ABANDONED_LIMIT_S``: ending a worker restarts others' runs.
        """
        for run in runs:
            if not run.number:
                self.cancel(run)
            run.limit_s, run.since_s = ABANDONED_LIMIT_S, 0.0

    async def _watch(self) -> None:
        """Enforces the time limits, at short intervals for short limits, until it is cancelled."""
        pause_s = min(MAX_PAUSE_S, self._limit_s / CHECKS_PER_LIMIT or MAX_PAUSE_S)
        while True:
            await trio.sleep(pause_s)
            self.expire_overdue(trio.current_time())

    def expire_overdue(self, now_s: float) -> None:
        """Ends the runs that exceed their time limit.

        The time of a run that waits for another one, or had to start again because the worker
        died, begins anew.

        Args:
            now_s: The time by trio's clock.
        """
        restarted = self._engine.state != "ready" or self._engine.restarts != self._restarts
        self._restarts = self._engine.restarts
        running = [run for user in self._users.values() for run in user.running]
        for run in running:
            waits = any(not value.done.is_set() for value in run.awaited)
            if restarted or waits or not run.since_s:
                run.since_s = now_s
            elif 0 < run.limit_s <= now_s - run.since_s:
                reason = (
                    f"the run took over {run.limit_s:g} s (-o call_timeout) and was ended; "
                    f"ask for less, or mount with a longer limit"
                )
                run.end(Outcome(error=TimedOut(reason)))
                self.kill(run)
