"""Runs on their way to the engine and back: queued, sent, answered, cancelled, sent again."""

from __future__ import annotations

import contextlib
import logging
import os
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import msgspec
import trio

from jaxfs.engine import protocol
from jaxfs.engine.client.connection import ProtocolError, WorkerConnection
from jaxfs.engine.client.quarantine import GRACE_S, Quarantine
from jaxfs.engine.client.run import EngineRun
from jaxfs.engine.interface import Outcome
from jaxfs.engine.protocol import INPUT_FAILED, MAX_UNDER_WAY
from jaxfs.errors import Cancelled, JaxfsError, RunFailed, from_errno, from_os_error
from jaxfs.ipc.channel import Closed
from jaxfs.ipc.shared_memory import Pool

ATTEMPTS = 3  # of a run whose engine dies
log = logging.getLogger(__name__)


class Dispatcher:
    """Owns every run from submission to its end.

    ``generation`` is the process that serves now, None while there is none; ``failure`` is why
    there is none for now.
    """

    def __init__(self, pool: Pool) -> None:
        self.connection: WorkerConnection | None = None
        self.failure: JaxfsError | None = None
        self.quarantine = Quarantine()
        self.socket_full = trio.Event()  # the socket has no room
        self.memory_statistics: dict[int, dict[str, int]] = {}  # the last figures the engine told
        self.statistics_requests: dict[int, trio.Event] = {}  # requests for newer ones
        self._pool = pool
        self._queue: OrderedDict[int, EngineRun] = OrderedDict()
        self._handlers: dict[type, Callable[[WorkerConnection, Any], None]] = {
            protocol.Done: self._on_done,
            protocol.Failed: self._on_failed,
            protocol.Loaded: self._on_loaded,
            protocol.LoadFailed: self._on_load_failed,
            protocol.MemoryStatistics: self._on_stats,
        }

    @property
    def has_work(self) -> bool:
        """Whether any run waits or is under way."""
        return bool(self._queue or (self.connection and self.connection.in_flight))

    def submit(self, run: EngineRun) -> None:
        """Send a run, or keep it until it can be sent."""
        try:
            run.retain_inputs(self._pool, self._find)
        except OSError as error:
            run.inputs = None
            self._refuse(run, from_os_error(error, "keeping the inputs of the run"))
        except JaxfsError as error:
            run.inputs = None
            self._refuse(run, error)
        else:
            self._queue[run.number] = run
            self.pump()

    def _find(self, number: int) -> EngineRun | None:
        """A run that has not ended."""
        in_flight = self.connection.in_flight if self.connection is not None else {}
        return self._queue.get(number) or in_flight.get(number)

    def pump(self) -> None:
        """Send what there is room for."""
        generation = self.connection
        while self._queue and self._may_send(generation):
            run = next(iter(self._queue.values()))
            try:
                refusal = self._refusal(run)
                if refusal is not None:
                    raise refusal
                if generation is None or not self._send(generation, run):
                    return
            except Closed:
                return  # the reading task sees it too
            except JaxfsError as error:
                self._refuse(run, error)
            self._queue.pop(run.number, None)

    def _may_send(self, generation: WorkerConnection | None) -> bool:
        if generation is None:
            return self.failure is not None
        if self.quarantine.suspected_runs and generation.in_flight:
            return trio.current_time() - generation.sent_at >= GRACE_S
        return len(generation.in_flight) < MAX_UNDER_WAY

    def _send(self, generation: WorkerConnection, run: EngineRun) -> bool:
        if run.inputs is None and generation.has_loaded(run.executable):
            self._settle(run, Outcome())
            return True
        generation.detach(self._pool.take_retired(), self._pool.take_forgotten())
        sent = generation.send(run)
        if not sent:
            self.socket_full.set()
        return sent

    def _refusal(self, run: EngineRun) -> JaxfsError | None:
        if self.failure is not None:
            return self.failure
        if run.key in self.quarantine.quarantined:
            return RunFailed(self.quarantine.quarantined[run.key])
        if run.attempts >= ATTEMPTS:
            return RunFailed(f"the engine died {ATTEMPTS} times while running this")
        if any(other.has_failed for other in run.dependencies):
            return RunFailed(INPUT_FAILED)
        return None

    def _refuse(self, run: EngineRun, error: JaxfsError) -> None:
        self._settle(run, Outcome(error=error))

    def _settle(self, run: EngineRun, outcome: Outcome) -> None:
        """End a run from here; its submitter hears of it from the event loop."""
        run.has_failed = outcome.error is not None
        run.release_segments()
        self.quarantine.forget_run(run.number)
        trio.lowlevel.current_trio_token().run_sync_soon(run.end, outcome)

    def cancel(self, number: int, *, kill: bool = False) -> None:
        """End a run with Cancelled; see ``interface.Engine``."""
        cancelled = Outcome(error=Cancelled("the run was cancelled"))
        queued = self._queue.pop(number, None)
        generation = self.connection
        if queued is not None:
            self._settle(queued, cancelled)
        elif generation is not None and number in generation.in_flight:
            run = generation.in_flight[number]
            run.has_failed = True  # for those that wait for it
            self.quarantine.forget_run(number)
            if not run.has_ended:
                run.has_ended = True
                trio.lowlevel.current_trio_token().run_sync_soon(run.done, cancelled)
            if generation.is_waiting(run):
                with contextlib.suppress(Closed):  # the reading task sees it too
                    generation.skip(run)
            elif kill:
                generation.was_killed = True
                generation.process.kill()

    def drain(self, generation: WorkerConnection) -> None:
        """Take the answers that are there.  Raises Closed when there will be no more.

        An engine that answers nonsense is ended: a user's program may have got hold of it.
        """
        try:
            self._take_answers(generation)
        except (ProtocolError, msgspec.MsgspecError) as error:
            log.warning("engine %d is ended: %s", generation.process.pid, error)
            generation.process.kill()
            raise Closed from error
        self.pump()

    def _take_answers(self, generation: WorkerConnection) -> None:
        for _ in range(MAX_UNDER_WAY):  # then it is other tasks' turn
            found = generation.channel.receive_nowait()
            if found is None:
                break
            message, fds = found
            if fds:
                for fd in fds:
                    os.close(fd)
                raise ProtocolError("it sends descriptors")
            handler = self._handlers.get(type(message))
            if handler is None:
                raise ProtocolError(f"it says {type(message).__name__} again")
            handler(generation, message)
            if not (generation.in_flight or self.statistics_requests):
                break  # nothing else can be there: spare the system call

    def _on_done(self, generation: WorkerConnection, message: protocol.Done) -> None:
        run = generation.take_ended(message.run, len(message.outputs))
        self.quarantine.forget_run(run.number)
        self.quarantine.record_success(run.key)
        run.finish(message.outputs, message.run_usec, message.started_usec)

    def _on_failed(self, generation: WorkerConnection, message: protocol.Failed) -> None:
        run = generation.take_ended(message.run)
        self.quarantine.forget_run(run.number)
        run.has_failed = True
        run.release_segments()
        error = from_errno(message.errno, message.reason, message.diagnostics)
        run.end(Outcome(error=error, sent_usec=run.sent_usec))

    def _on_loaded(self, generation: WorkerConnection, message: protocol.Loaded) -> None:
        for run in generation.take_loaded(message.executable):
            self._settle(run, Outcome())

    def _on_load_failed(self, generation: WorkerConnection, message: protocol.LoadFailed) -> None:
        error = from_errno(message.errno, message.reason, message.diagnostics)
        for run in generation.take_load_failed(message.executable):
            self._refuse(run, error)

    def _on_stats(self, generation: WorkerConnection, message: protocol.MemoryStatistics) -> None:
        generation.statistics_arrived(message.request)
        self.memory_statistics = message.memory
        if message.request in self.statistics_requests:
            self.statistics_requests[message.request].set()

    def requeue_after_death(self, generation: WorkerConnection, status: int) -> None:
        """Queue again, in order, what the dead process had not answered."""
        runs = tuple(generation.in_flight.values())
        if not generation.was_killed:
            wanted = [run.number for run in runs if not run.has_ended]
            self.quarantine.record_death({run.key for run in runs}, wanted, status)
            for run in runs:
                run.attempts += 1
        for run in reversed(runs):
            if run.has_ended:
                run.release_segments()
            else:
                self._queue[run.number] = run
                self._queue.move_to_end(run.number, last=False)
        for answered in self.statistics_requests.values():
            answered.set()

    def fail(self, cause: JaxfsError) -> None:
        """No run will be served any more."""
        self.failure = self.failure or cause
        self.pump()
