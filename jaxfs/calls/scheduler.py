"""Whose turn it is: runs on their way to the engine, fair between users.

The engine takes runs in the order it gets them.  So it gets no more than it can work on, and what
is beyond that waits here, by user: each place that becomes free goes to the next user in turn.  A
user with 5,000 calls delays another by the few that are under way.

A run may take what another one has yet to make.  Where both are one user's and go to one engine,
they follow each other there; else the one waits here until the other has ended.

It is also here that a run's time is up: an engine cannot stop a run by itself, so a run that goes
on is ended with the engine, which starts the others' runs again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

import attrs
import trio

from jaxfs.arrays.run_inputs import PendingInput, RunInput, ScheduledRun, release_inputs
from jaxfs.engine.interface import Engine, Executable, Input, Outcome, OutputRef, Range
from jaxfs.errors import Cancelled, JaxfsError, OverQuota, TimedOut, from_os_error

UNDER_WAY = 192  # in the engine; fewer than it can take, so that it has no queue of its own
UNDER_WAY_PER_USER = 64  # one user's endless runs leave places for others
STOP_GRACE_S = 0.5  # most runs end by themselves sooner than an engine starts
ABANDONED_S = 10.0  # for a run whose conversation was closed; nobody will ever see its result
LOOKS = 20  # at the clock, in the time a run has; a run may have this part more
MAX_PAUSE_S = 1.0
_THERE = frozenset({Range, bytes})  # the types of inputs that nobody has to make first


def soon(do: Callable[..., None], *arguments: object) -> None:
    """Do something from the event loop: what calls this is not to grow with a chain's length."""
    trio.lowlevel.current_trio_token().run_sync_soon(do, *arguments)


@attrs.define(eq=False)
class Run:
    """One run, from submission to its end; ``done`` is called once.

    ``shared_as``: other runs may take its outputs before it has ended.  ``awaited`` are its inputs
    that were not there.
    """

    scheduler: Scheduler
    user: _UserQueue
    executable: Executable
    inputs: tuple[RunInput, ...]
    done: Callable[[Outcome], None]
    shared_as: int = 0
    awaited: tuple[PendingInput, ...] = ()
    is_parked: bool = False  # in no line: what it waits for is another user's, or another engine's
    number: int = 0  # the engine's, 0 while it waits here
    limit_s: float = 0.0  # 0: none
    since_s: float = 0.0  # when it was first seen under way, 0: not yet
    has_ended: bool = False

    def end(self, outcome: Outcome) -> None:
        """Only the first end counts: what comes after a timeout is let go."""
        if self.has_ended:
            release_inputs((outcome.outputs,))
            return
        self.has_ended = True
        self.done(self._explained(outcome) if self.awaited else outcome)
        self.scheduler.finish(self)  # then: whose turn it is now may take what this one has made
        awaited, self.awaited = self.awaited, ()
        for value in awaited:
            value.dependents.discard(self)
            soon(value.release)  # it may end another run, and so on: chains are long

    def _explained(self, outcome: Outcome) -> Outcome:
        """A failure whose cause is an input's says so."""
        failures = [value.failure() for value in self.awaited] if outcome.error else []
        cause = next((failure for failure in failures if failure is not None), None)
        return outcome if cause is None else Outcome(error=cause)

    def kill(self) -> None:
        """As ``Queue.stop``."""
        self.scheduler.kill(self)

    def precedes(self, other: ScheduledRun) -> bool:
        """Whether the other's engine gets this one first: both are one user's there."""
        return isinstance(other, Run) and other.user is self.user and not self.is_parked


@attrs.define(eq=False)
class _UserQueue:
    """What one user has unfinished."""

    uid: int
    running: set[Run] = attrs.field(factory=set)
    waiting: OrderedDict[Run, None] = attrs.field(factory=OrderedDict)
    unfinished: int = 0


class Scheduler:
    """Between those who ask and one engine.

    ``max_calls`` bounds what a user may have unfinished, ``limit_s`` how long a run may take from
    when the engine has it; 0 is no limit.
    """

    def __init__(
        self, engine: Engine, nursery: trio.Nursery, *, max_calls: int = 0, limit_s: float = 0.0
    ) -> None:
        self._engine = engine
        self._nursery = nursery
        self._max_calls = max_calls
        self._limit_s = limit_s
        self._users: dict[int, _UserQueue] = {}  # kept: there are not many users
        self._turns: OrderedDict[int, _UserQueue] = OrderedDict()  # who waits, next first
        self._under_way = 0
        self._restarts = engine.restarts
        nursery.start_soon(self._watch)

    @property
    def waiting(self) -> int:
        """How many runs wait here, of all users."""
        return sum(len(user.waiting) for user in self._turns.values())

    def submit(
        self,
        uid: int,
        executable: Executable,
        inputs: tuple[RunInput, ...],
        done: Callable[[Outcome], None],
        *,
        shared_as: int = 0,
    ) -> Run:
        """Run once; ``done`` gets the outcome from the event loop, not before this returns.

        Takes over the inputs, also where it raises OverQuota.  ``shared_as`` as of the engine.
        """
        user = self._users.get(uid)
        if user is None:
            user = self._users[uid] = _UserQueue(uid)
        if 0 < self._max_calls <= user.unfinished:
            release_inputs(inputs)
            raise self._over_quota(user)
        user.unfinished += 1
        ticket = Run(self, user, executable, inputs, done, shared_as, limit_s=self._limit_s)
        if all(type(value) in _THERE for value in inputs):
            self._enqueue(ticket)
        else:
            self._enqueue_after(ticket)
        return ticket

    def _enqueue(self, ticket: Run) -> None:
        user = ticket.user
        if self._may_run(user) and not user.waiting:
            self._hand_over(ticket)
        else:
            user.waiting[ticket] = None
            self._turns[user.uid] = user

    def _enqueue_after(self, ticket: Run) -> None:
        """Behind what it takes the outputs of, or not before that has ended."""
        ticket.awaited = tuple(v for v in ticket.inputs if not isinstance(v, Range | bytes))
        for value in ticket.awaited:
            value.dependents.add(ticket)
        if all(value.done.is_set() or self._is_ahead(value, ticket) for value in ticket.awaited):
            self._enqueue(ticket)
        else:
            ticket.is_parked = True
            self._nursery.start_soon(self._park, ticket)

    def _is_ahead(self, value: PendingInput, ticket: Run) -> bool:
        return value.run is not None and value.run.precedes(ticket)

    async def _park(self, ticket: Run) -> None:
        for value in ticket.awaited:
            await value.done.wait()
        if not ticket.has_ended:
            ticket.is_parked = False
            self._enqueue(ticket)

    def _over_quota(self, user: _UserQueue) -> OverQuota:
        return OverQuota(
            f"{user.unfinished} calls of user {user.uid} are unfinished, the most a user may have "
            f"(-o max_calls_per_user); wait for some, or remove their results"
        )

    def poll(self, wait_s: float = 0.0) -> None:
        """Take what the engine has answered already, or answers within so short a time."""
        self._engine.poll(wait_s)

    def _may_run(self, user: _UserQueue) -> bool:
        return self._under_way < UNDER_WAY and len(user.running) < UNDER_WAY_PER_USER

    def _hand_over(self, ticket: Run) -> None:
        inputs: tuple[Input | OutputRef, ...] = ticket.inputs  # type: ignore[assignment]  # mostly so
        if ticket.awaited:
            try:
                inputs = self._found(ticket)
            except JaxfsError as error:
                self._fail_soon(ticket, error)
                return
        self._under_way += 1
        ticket.user.running.add(ticket)
        ticket.number = self._engine.submit(
            ticket.executable, inputs, ticket.end, shared_as=ticket.shared_as
        )
        release_inputs(value for value in inputs if not isinstance(value, OutputRef))
        ticket.inputs = ()

    def _found(self, ticket: Run) -> tuple[Input | OutputRef, ...]:
        """The inputs, with what is there by now.  Raises what kept one from being made."""
        for value in ticket.awaited:
            failure = value.failure()
            if failure is not None:
                raise failure
        found = dict[PendingInput, Input | OutputRef]()
        try:
            for value in ticket.awaited:
                found[value] = value.resolve() if value.done.is_set() else value.output_ref()
        except OSError as error:  # no memory for a copy in this engine's pool
            release_inputs(one for one in found.values() if not isinstance(one, OutputRef))
            raise from_os_error(error, "keeping the inputs of the run") from error
        return tuple(
            value if isinstance(value, Range | bytes) else found[value] for value in ticket.inputs
        )

    def _fail_soon(self, ticket: Run, error: JaxfsError) -> None:
        """Its submitter hears of it from the event loop."""
        soon(ticket.end, Outcome(error=error))

    def finish(self, ticket: Run) -> None:
        """A run has ended: whoever's turn it is gets its place."""
        user = ticket.user
        user.unfinished -= 1
        if not ticket.number:
            self._leave(ticket)
            return
        self._under_way -= 1
        user.running.discard(ticket)
        while self._turns:
            following = next(filter(self._may_run, self._turns.values()), None)
            if following is None:
                return
            self._take_turn(following)

    def _take_turn(self, user: _UserQueue) -> None:
        ticket, _ = user.waiting.popitem(last=False)
        self._turns.move_to_end(user.uid)
        if not user.waiting:
            del self._turns[user.uid]
        self._hand_over(ticket)

    def _leave(self, ticket: Run) -> None:
        ticket.user.waiting.pop(ticket, None)
        if not ticket.user.waiting:
            self._turns.pop(ticket.user.uid, None)
        release_inputs(value for value in ticket.inputs if isinstance(value, Range))
        ticket.inputs = ()

    def cancel(self, ticket: Run, *, kill: bool = False) -> None:
        """End a run with Cancelled: one that waits here before this returns, else as the engine
        does (``Engine.cancel``)."""
        if ticket.number:
            self._engine.cancel(ticket.number, kill=kill)
        elif not ticket.has_ended:
            ticket.end(Outcome(error=Cancelled("the run was cancelled")))

    def kill(self, ticket: Run) -> None:
        """Cancel, and end a run that goes on with its engine; others' runs start again there."""
        self.cancel(ticket)
        if ticket.number:
            self._nursery.start_soon(self._kill_later, ticket)

    async def _kill_later(self, ticket: Run) -> None:
        await trio.sleep(STOP_GRACE_S)
        self.cancel(ticket, kill=True)

    def abandon(self, tickets: Iterable[Run]) -> None:
        """Nobody will see what these give: they need not begin, and must not go on for ever."""
        for ticket in tickets:
            if not ticket.number:
                self.cancel(ticket)
            ticket.limit_s, ticket.since_s = ABANDONED_S, 0.0

    # Time

    async def _watch(self) -> None:
        pause_s = min(MAX_PAUSE_S, self._limit_s / LOOKS or MAX_PAUSE_S)
        while True:
            await trio.sleep(pause_s)
            self.expire_overdue(trio.current_time())

    def expire_overdue(self, now_s: float) -> None:
        """End the runs whose time is up.

        A run that had to start again, because the engine died or was ended for another run, has
        all of its time again.
        """
        again = self._engine.state != "ready" or self._engine.restarts != self._restarts
        self._restarts = self._engine.restarts
        running = [ticket for user in self._users.values() for ticket in user.running]
        for ticket in running:
            waits = any(not value.done.is_set() for value in ticket.awaited)
            if again or waits or not ticket.since_s:
                ticket.since_s = now_s
            elif 0 < ticket.limit_s <= now_s - ticket.since_s:
                self._expire(ticket)

    def _expire(self, ticket: Run) -> None:
        ticket.end(
            Outcome(
                error=TimedOut(
                    f"the run took over {ticket.limit_s:g} s (-o call_timeout) and was ended; "
                    f"ask for less, or mount with a longer limit"
                )
            )
        )
        self.kill(ticket)
