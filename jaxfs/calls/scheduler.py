"""The scheduler of one engine: decides which run is next, fairly between users.

An engine executes runs in the order in which it gets them.  So it is given no more than it can work
on, and further runs wait here, in a queue for each user: a free place is given to the next
user in turn.  A user with 5,000 calls delays another one only by the few that are in the engine.

A run may take outputs of a run that has not ended.  If both are one user's and use one engine, they
follow each other there; otherwise the later one is parked here until the earlier one has ended.

The scheduler also enforces the time limit.  An engine cannot stop a run alone: a run that
does not end is ended together with its worker, and the engine starts the others' runs again.
A user whose runs are in the way of others gets an engine of its own; see ``separation``.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable

import attrs
import trio

from jaxfs.arrays.run_inputs import PendingInput, RunInput, release_inputs
from jaxfs.calls.separation import Head, user_to_separate
from jaxfs.calls.user_queue import Place, Run, RunLimits, UserQueue, call_soon
from jaxfs.engine.interface import Engine, Engines, Executable, Input, Outcome, OutputRef, Range
from jaxfs.errors import Cancelled, JaxfsError, OverQuota, from_os_error

MAX_IN_ENGINE = 192  # fewer than an engine takes, so that none waits in a queue there
MAX_IN_ENGINE_PER_USER = 64  # leaves places for others where one user's runs do not end
KILL_GRACE_S = 0.5  # most runs end by themselves sooner than a worker starts
PREPARE_S = 10.0  # a worker is up within a second or two; it is ended without another after that
ABANDONED_LIMIT_S = 10.0  # for a run of a conversation that was closed: its result is not read
CHECKS_PER_LIMIT = 20  # how often the time limit is checked while a run may take
CHECKS_PER_SHARE = 5  # the same for ``share_after``
MAX_PAUSE_S = 1.0  # between two checks
log = logging.getLogger(__name__)
_READY = frozenset({Range, bytes})  # the types of inputs that no run has to make first


class Scheduler:
    """Passes runs to one engine, fairly between users.

    Args:
        engine: The engine.
        nursery: For tasks that wait, as long as the mount exists.
        engines: Gives a user an engine of its own; None if there is only the one.
        max_calls: How many unfinished runs a user may have; 0 for no limit.
        limits: How long a run may take.
        share_after_s: How long a run may take while another user waits; 0 for no limit.
    """

    def __init__(
        self,
        engine: Engine,
        nursery: trio.Nursery,
        engines: Engines | None = None,
        *,
        max_calls: int = 0,
        limits: RunLimits = RunLimits(),  # noqa: B008  # it is frozen
        share_after_s: float = 0.0,
    ) -> None:
        self._shared = Place(engine, engine.restarts)
        self._places = {engine: self._shared}
        self._engines = engines
        self._nursery = nursery
        self._max_calls = max_calls
        self._limits = limits
        self._share_after_s = share_after_s
        self._users: dict[int, UserQueue] = {}  # never shrinks: there are not many users
        self._turns: OrderedDict[int, UserQueue] = OrderedDict()  # of those that wait, next first
        self._heads: defaultdict[int, Head] = defaultdict(Head)  # what each shared device works on
        nursery.start_soon(self._watch)

    @property
    def waiting(self) -> int:
        """How many runs of all users wait for a place in the engine."""
        return sum(len(user.waiting) for user in self._turns.values())

    def unfinished(self, uid: int) -> int:
        """Returns how many runs of a user have not ended."""
        user = self._users.get(uid)
        return user.unfinished if user is not None else 0

    @property
    def separated(self) -> int:
        """How many users have an engine apart from that of the others."""
        return sum(user.place is not self._shared for user in self._users.values())

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
            user = self._users[uid] = UserQueue(uid, self._shared)
        if 0 < self._max_calls <= user.unfinished:
            release_inputs(inputs)
            raise OverQuota(
                f"{user.unfinished} calls of user {uid} are unfinished, the most a user may have "
                f"(-o max_calls_per_user); wait for some, or remove their results"
            )
        user.unfinished += 1
        run = Run(self, user, executable, inputs, done, shared_as, limits=self._limits)
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
        self._shared.engine.poll(wait_s)

    def _has_place(self, user: UserQueue) -> bool:
        return user.place.running < MAX_IN_ENGINE and len(user.running) < MAX_IN_ENGINE_PER_USER

    def _start(self, run: Run) -> None:
        """Passes a run to the engine, or ends it where an input of it failed."""
        inputs: tuple[Input | OutputRef, ...] = run.inputs  # type: ignore[assignment]  # unless awaited
        if run.awaited:
            try:
                inputs = self._resolve(run)
            except JaxfsError as error:
                call_soon(run.end, Outcome(error=error.recorded()))
                return
        user = run.user
        place = user.place
        place.running += 1
        user.running.add(run)
        run.number = place.engine.submit(
            run.executable, inputs, run.end, shared_as=run.shared_as, user=user.uid
        )
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
        user.place.running -= 1
        user.running.discard(run)
        if self._turns:
            self._start_waiting()

    def _start_waiting(self) -> None:
        """Starts the runs that have a place now."""
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
            run.user.place.engine.cancel(run.number, kill=kill)
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
        """Ends the worker of a cancelled run, unless the run has ended within ``KILL_GRACE_S``.

        Its user is separated first if that ends the worker of others: their runs go on.  Others use
        the worker until the next one is up.
        """
        await trio.sleep(KILL_GRACE_S)
        user = run.user
        others = [other for other in self._users.values() if other is not user]
        if not user.place.engine.cancel(run.number):
            return
        has_killed_again = user.stay.has_killed_again(trio.current_time())
        if others and user.place is self._shared:
            await self._prepare()
            if not user.place.engine.cancel(run.number):
                return
        is_used = any(other.running and other.place is user.place for other in others)
        if is_used or (has_killed_again and others):
            self._separate(user, "runs of it have to be ended")
        self.cancel(run, kill=True)

    def abandon(self, runs: Iterable[Run]) -> None:
        """Cancels runs that will not be read.

        Those in the engine may take ``ABANDONED_LIMIT_S``: ending a worker restarts others' runs.
        """
        for run in runs:
            if not run.number:
                self.cancel(run)
            run.limits, run.since_s = attrs.evolve(run.limits, run_s=ABANDONED_LIMIT_S), 0.0

    async def _watch(self) -> None:
        """Enforces the time limits, at short intervals for short limits, until it is cancelled."""
        pause_s = min(
            MAX_PAUSE_S,
            self._limits.run_s / CHECKS_PER_LIMIT or MAX_PAUSE_S,
            self._share_after_s / CHECKS_PER_SHARE or MAX_PAUSE_S,
        )
        while True:
            await trio.sleep(pause_s)
            now_s = trio.current_time()
            self.expire_overdue(now_s)
            self.share(now_s)

    def expire_overdue(self, now_s: float) -> None:
        """Ends the runs that exceed their time limit.

        The time of a run that waits for another one or for its executable, which the engine may
        have to compile first, or had to start again because the worker died, begins anew.

        Args:
            now_s: The time by trio's clock.
        """
        restarted = {place for place in self._places.values() if place.has_restarted()}
        running = [run for user in self._users.values() for run in user.running]
        for run in running:
            reason = run.overdue(now_s, has_restarted=run.user.place in restarted)
            if reason:
                run.expire(reason)

    def share(self, now_s: float) -> None:
        """Separates a user whose runs keep others waiting, or whose runs workers died of.

        Users that were separated are back after a time without runs.  Where the platform has one
        engine only, the run in the way is ended.

        Args:
            now_s: The time by trio's clock.
        """
        for user in self._users.values():
            if user.place is not self._shared and user.stay.is_over(
                now_s, is_idle=not user.unfinished
            ):
                user.place = self._shared
                if self._engines is not None:
                    self._engines.rejoin(user.uid)
        for uid in self._shared.engine.take_accused():
            if uid in self._users and len(self._users) > 1:
                self._separate(self._users[uid], "a worker died of its run")
                self._nursery.start_soon(self._prepare)  # for the next one
        if self._share_after_s:
            self._free_devices(now_s)

    def _free_devices(self, now_s: float) -> None:
        """Finds out whether a user keeps others waiting, and separates it or ends its run."""
        users = [user for user in self._users.values() if user.place is self._shared]
        after_s = self._share_after_s
        if user_to_separate([user.load(now_s, after_s / 2) for user in users]) is not None:
            self._nursery.start_soon(self._prepare)
        uid = user_to_separate([user.load(now_s, after_s) for user in users])
        by_device = defaultdict[int, list[Run]](list)
        running = [run for user in users for run in user.running]
        for run in sorted(running, key=lambda run: run.number):
            for device in run.executable.device_ids:
                by_device[device].append(run)
        heads = self._heads
        ages = {device: heads[device].age_s(runs[0], now_s) for device, runs in by_device.items()}
        if uid is None or self._separate(self._users[uid], "its runs keep others waiting"):
            return
        for device, (first, *others) in by_device.items():
            waits = any(
                run.user is not first.user and run.is_long(now_s, after_s) for run in others
            )
            if waits and ages[device] >= after_s:
                first.expire(
                    f"the run took over {after_s:g} s while another user waited for the device "
                    f"(-o share_after) and was ended; ask for less, or mount with a longer time"
                )

    async def _prepare(self) -> None:
        """Waits until the others' next worker is up, ``PREPARE_S`` at most."""
        if self._engines is not None:
            with trio.move_on_after(PREPARE_S):
                await self._engines.prepare()

    def _separate(self, user: UserQueue, reason: str) -> bool:
        """Gives a user another engine than the others have.

        Returns:
            Whether it has one; the platform may have no second engine.
        """
        if user.place is not self._shared:
            return True
        engine = self._engines.separate(user.uid) if self._engines is not None else None
        if engine is None:
            return False
        log.info("user %d has an engine apart from that of others: %s", user.uid, reason)
        place = self._places.setdefault(engine, Place(engine, engine.restarts))
        self._shared.running -= len(user.running)
        place.running += len(user.running)
        user.place = place
        user.stay.begin()
        for run in (run for other in self._users.values() for run in other.running):
            run.since_s = 0.0  # most of them start again
        self._start_waiting()
        return True
