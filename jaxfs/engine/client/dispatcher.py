"""Runs on their way to the worker and back: queued, sent, answered, cancelled, sent again."""

from __future__ import annotations

import contextlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import trio

from jaxfs.engine import protocol
from jaxfs.engine.client.connection import CannotLoad, ProtocolError, WorkerConnection
from jaxfs.engine.client.load_repairs import LoadRepairs
from jaxfs.engine.client.quarantine import Quarantine
from jaxfs.engine.client.run import EngineRun
from jaxfs.engine.interface import Outcome
from jaxfs.engine.protocol import INPUT_FAILED, MAX_UNDER_WAY
from jaxfs.errors import Cancelled, JaxfsError, RunFailed, from_errno, from_os_error
from jaxfs.ipc.channel import Closed, close_fds
from jaxfs.ipc.shared_memory import Pool

ATTEMPTS = 3  # of a run during which the worker dies
log = logging.getLogger(__name__)


class Dispatcher:
    """Owns every run from submission to its end.

    Attributes:
        connection: To the worker that serves now, None while there is none.
        failure: Why there will be none for now; every run fails with it.
        quarantine: The programs that are refused.
        repairs: Of executables that the worker cannot load.
        socket_full: Set when the socket has no room: call ``pump`` when it has.
        memory_statistics: The last figures the worker sent, by device id.
        statistics_requests: Set when newer figures have arrived, by request.
        accused: The users that workers probably died of.

    Args:
        pool: The shared memory.
        quarantine: As above; a fresh one where not given.
    """

    def __init__(self, pool: Pool, quarantine: Quarantine | None = None) -> None:
        self.connection: WorkerConnection | None = None
        self.failure: JaxfsError | None = None
        self.quarantine = quarantine or Quarantine()
        self.accused: list[int] = []
        self.socket_full = trio.Event()
        self.memory_statistics: dict[int, dict[str, int]] = {}
        self.statistics_requests: dict[int, trio.Event] = {}
        self._pool = pool
        self._queue: OrderedDict[int, EngineRun] = OrderedDict()
        self.repairs = LoadRepairs(self._queue, self._fail_run, self.pump)
        self._handlers: dict[type, Callable[[WorkerConnection, Any], None]] = {
            protocol.Done: self._on_done,
            protocol.Failed: self._on_failed,
            protocol.Loaded: self._on_loaded,
            protocol.LoadFailed: self._on_load_failed,
            protocol.MemoryStatistics: self._on_statistics,
            protocol.DeviceFailed: self._on_device_failed,
        }

    @property
    def has_work(self) -> bool:
        """Whether any run is queued or under way, except for those that another worker has too."""
        in_flight = self.connection.in_flight.values() if self.connection is not None else ()
        return bool(self._queue or self.repairs.held) or any(not run.is_copied for run in in_flight)

    def submit(self, run: EngineRun) -> None:
        """Sends a run, or queues it until it can be sent."""
        try:
            run.retain_inputs(self._pool, self._find)
        except OSError as error:
            run.inputs = None
            self._fail_run(run, from_os_error(error, "keeping the inputs of the run"))
        except JaxfsError as error:
            run.inputs = None
            self._fail_run(run, error)
        else:
            self._queue[run.number] = run
            self.pump()

    def _find(self, number: int) -> EngineRun | None:
        """Returns a run that has not ended, whether it is queued or in flight.

        Returns:
            None for a run that has ended or was never submitted.
        """
        in_flight = self.connection.in_flight if self.connection is not None else {}
        return self._queue.get(number) or in_flight.get(number) or self.repairs.held.get(number)

    def pump(self) -> None:
        """Sends queued runs while there is room."""
        connection = self.connection
        while self._queue and self._may_send(connection):
            run = next(iter(self._queue.values()))
            if self.repairs.under_way and self.repairs.must_hold(run):
                self.repairs.hold(run)
                continue
            try:
                refusal = self._refusal(run)
                if refusal is not None:
                    raise refusal
                if connection is None or not self._send(connection, run):
                    return
            except Closed:
                return  # the reading task sees it too
            except CannotLoad as error:
                self.repairs.fail_load(run, error)
            except JaxfsError as error:
                self._fail_run(run, error)
            self._queue.pop(run.number, None)

    def _may_send(self, connection: WorkerConnection | None) -> bool:
        """Returns whether the next queued run may leave the queue now.

        After a death that several runs may have caused, runs are sent one at a time, so that the
        next death has one cause; a run that takes longer than ``grace_s`` no longer delays others.
        Without a worker, runs leave the queue only to fail.
        """
        if connection is None:
            return self.failure is not None
        if self.quarantine.suspected_runs and connection.in_flight:
            return trio.current_time() - connection.sent_at >= self.quarantine.grace_s
        return len(connection.in_flight) < MAX_UNDER_WAY

    def _send(self, connection: WorkerConnection, run: EngineRun) -> bool:
        if run.inputs is None and connection.has_loaded(run.executable):
            self._end_soon(run, Outcome())
            return True
        connection.detach()
        sent = connection.send(run)
        if not sent:
            self.socket_full.set()
        return sent

    def _refusal(self, run: EngineRun) -> JaxfsError | None:
        if self.failure is not None:
            return self.failure.recorded()
        if run.key in self.quarantine.quarantined:
            return RunFailed(self.quarantine.quarantined[run.key])
        if run.attempts >= ATTEMPTS:
            return RunFailed(
                f"the engine died {ATTEMPTS} times while running this, the last time by "
                f"{self.quarantine.last_death}"
            )
        if any(other.has_failed for other in run.dependencies):
            return RunFailed(INPUT_FAILED)
        return None

    def _fail_run(self, run: EngineRun, error: JaxfsError) -> None:
        self._end_soon(run, Outcome(error=error.recorded()))

    def _end_soon(self, run: EngineRun, outcome: Outcome) -> None:
        """Ends a run that the worker does not have; the event loop calls its ``done``."""
        run.has_failed = outcome.error is not None
        run.release_segments()
        self.quarantine.forget_run(run.number)
        trio.lowlevel.current_trio_token().run_sync_soon(run.end, outcome)

    def cancel(self, number: int, *, kill: bool = False) -> bool:
        """Ends a run with Cancelled; see ``interface.Engine``."""
        cancelled = Outcome(error=Cancelled("the run was cancelled"))
        queued = self._queue.pop(number, None) or self.repairs.held.pop(number, None)
        connection = self.connection
        if queued is not None:
            self._end_soon(queued, cancelled)
        elif connection is not None and number in connection.in_flight:
            run = connection.in_flight[number]
            run.has_failed = True  # for those that depend on it
            self.quarantine.forget_run(number)
            if not run.has_ended:
                run.has_ended = True
                trio.lowlevel.current_trio_token().run_sync_soon(run.done, cancelled)
            if connection.is_waiting(run):
                with contextlib.suppress(Closed):  # the reading task sees it too
                    connection.skip(run)
                return False
            if kill:
                connection.was_killed = True
                connection.process.kill()
            return True
        return False

    def drain(self) -> bool:
        """Takes the answers that are there, and sends what there is room for then.

        A worker that breaks the protocol is ended: a user's program may have taken it over.

        Returns:
            Whether a run has ended.

        Raises:
            Closed: There will be no more answers.
        """
        connection = self.connection
        if connection is None:
            return False
        before = len(connection.in_flight)
        try:
            self._take_answers(connection)
        except (ProtocolError, msgspec.MsgspecError) as error:
            log.warning("engine %d is ended: %s", connection.process.pid, error)
            connection.process.kill()
            raise Closed from error
        has_ended = len(connection.in_flight) < before
        if self._queue:
            self.pump()
        return has_ended

    def _take_answers(self, connection: WorkerConnection) -> None:
        for _ in range(MAX_UNDER_WAY):  # then it is other tasks' turn
            found = connection.channel.receive_nowait()
            if found is None:
                return
            message, fds = found
            if fds:
                close_fds(fds)
                raise ProtocolError("it sends descriptors")
            handler = self._handlers.get(type(message))
            if handler is None:
                raise ProtocolError(f"it sends {type(message).__name__} again")
            handler(connection, message)
            if not (connection.in_flight or self.statistics_requests):
                return  # no other answer can be there: spare the system call

    def _on_done(self, connection: WorkerConnection, message: protocol.Done) -> None:
        run = connection.take_ended(message.run, len(message.outputs))
        self.quarantine.forget_run(run.number)
        self.quarantine.record_success(run.key)
        run.finish(message.outputs, message.run_usec, message.started_usec)

    def _on_failed(self, connection: WorkerConnection, message: protocol.Failed) -> None:
        run = connection.take_ended(message.run)
        self.quarantine.forget_run(run.number)
        if not run.has_ended and (run.is_held or self.repairs.must_hold(run)):
            self.repairs.hold(run)
            return
        run.has_failed = True
        run.release_segments()
        error = from_errno(message.errno, message.reason, message.diagnostics)
        run.end(Outcome(error=error, sent_usec=run.sent_usec))

    def _on_loaded(self, connection: WorkerConnection, message: protocol.Loaded) -> None:
        for run in connection.take_loaded(message.executable):
            self._end_soon(run, Outcome(compiled=message.compiled))

    def _on_load_failed(self, connection: WorkerConnection, message: protocol.LoadFailed) -> None:
        """Repairs an executable that the worker could not load, or fails the runs that need it."""
        error = from_errno(message.errno, message.reason, message.diagnostics)
        waiting, failing = connection.take_load_failed(message.executable)
        for run in failing:
            run.is_held = self.repairs.repair is not None  # until the worker has answered it too
        for run in waiting:
            self.repairs.fail_load(run, error)
        if failing:
            self.repairs.begin(failing[0].executable, error)

    def _on_statistics(
        self, connection: WorkerConnection, message: protocol.MemoryStatistics
    ) -> None:
        connection.statistics_arrived(message.request)
        self.memory_statistics = message.memory
        if message.request in self.statistics_requests:
            self.statistics_requests[message.request].set()

    def _on_device_failed(
        self, connection: WorkerConnection, message: protocol.DeviceFailed
    ) -> None:
        log.warning("engine %d ends: %s", connection.process.pid, message.reason)
        connection.device_failure = message

    def requeue_after_death(self, connection: WorkerConnection, status: int) -> None:
        """Queues again, in order, what the dead worker had not answered.

        Args:
            connection: To the worker that has ended.
            status: Its exit status, or minus the signal.
        """
        runs = tuple(connection.in_flight.values())
        if not connection.was_killed:
            self.accused += self.quarantine.record_end(runs, status, connection.device_failure)
        for run in reversed(runs):
            if run.has_ended or run.is_copied:
                run.release_segments()
            else:
                run.is_held = False
                self._requeue(run)
        self._answer_statistics()

    def _requeue(self, run: EngineRun) -> None:
        """Puts a run before all others of the queue."""
        self._queue[run.number] = run
        self._queue.move_to_end(run.number, last=False)

    def _answer_statistics(self) -> None:
        """Ends the wait for figures that a worker will not send: the last known ones are used."""
        for answered in self.statistics_requests.values():
            answered.set()

    def hand_over(self, user: int, heir: Dispatcher) -> WorkerConnection | None:
        """Gives all runs of one user to another dispatcher, with the worker if it has any of them.

        The worker's runs of other users go on there, and start a second time in the next worker
        of this dispatcher: the first result counts.

        Args:
            user: The user.
            heir: Has no worker.

        Returns:
            The connection to the worker, which is the heir's now; None if it stays here.
        """
        connection = self.connection
        runs = tuple(connection.in_flight.values()) if connection is not None else ()
        given = connection if any(run.user == user for run in runs) else None
        if given is not None:
            self.connection, heir.connection = None, given
            self._copy_to(self, [run for run in runs if run.user != user])
            self._answer_statistics()
            for run in runs:
                if run.user == user:
                    self.quarantine.forget_run(run.number)
        self._give_queued(user, heir)
        return given

    def move(self, user: int, heir: Dispatcher) -> None:
        """Gives all runs of one user to another dispatcher, where they start again.

        A worker that has some of them is ended: it cannot stop them by itself.
        """
        self._give_queued(user, heir)
        connection = self.connection
        if connection is None:
            return
        runs = [run for run in connection.in_flight.values() if run.user == user]
        if runs:
            self._copy_to(heir, runs)
            connection.was_killed = True
            connection.process.kill()

    def _copy_to(self, heir: Dispatcher, runs: Sequence[EngineRun]) -> None:
        """Queues copies of runs in flight, before all others of the heir's queue."""
        copies = dict[int, EngineRun]()
        for run in runs:
            if run.has_ended or run.is_copied:
                continue
            try:
                copies[run.number] = run.copy(self._pool, copies)
            except OSError as error:  # its worker still writes to its memory
                run.has_failed = True
                failure = from_os_error(error, "keeping the inputs of the run")
                trio.lowlevel.current_trio_token().run_sync_soon(run.end, Outcome(error=failure))
        for queued in heir._queue.values():
            queued.follow(copies)
        for copy in reversed(copies.values()):
            heir._requeue(copy)

    def _give_queued(self, user: int, heir: Dispatcher) -> None:
        waiting = {**self._queue, **self.repairs.held}
        for number, run in sorted(waiting.items()):
            if run.user == user:
                self._queue.pop(number, None)
                self.repairs.held.pop(number, None)
                run.is_held = False  # the heir begins a repair of its own
                self.quarantine.forget_run(number)
                heir._queue[number] = run

    def fail(self, cause: JaxfsError) -> None:
        """Fails every run from now on with ``cause``, or with an earlier one."""
        self.failure = self.failure or cause.recorded()
        self.repairs.end_all()
        self.pump()
