"""The engine in a process of its own, as the front sees it.

``submit`` sends at once and never waits; answers are taken when the event loop sees them or a
caller polls.  When the process dies it is started again, everything it needs is sent again, and
what it had not answered runs again: programs are pure.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
from collections.abc import AsyncIterator, Callable, Mapping

import trio

from jaxfs.engine.client.connection import WorkerConnection
from jaxfs.engine.client.dispatcher import Dispatcher
from jaxfs.engine.client.process import start_worker
from jaxfs.engine.client.quarantine import Quarantine
from jaxfs.engine.client.run import EngineRun
from jaxfs.engine.client.spare_worker import SpareWorker
from jaxfs.engine.interface import Executable, Input, Outcome, OutputRef, Repair, State
from jaxfs.engine.protocol import CompileFigures, Device, EngineOptions
from jaxfs.errors import Cancelled, JaxfsError, TimedOut
from jaxfs.ipc.channel import Closed
from jaxfs.ipc.shared_memory import Pool
from jaxfs.ipc.spin import spin
from jaxfs.types.compile_target import CompileTarget

log = logging.getLogger(__name__)
RETRY_S = 10.0  # after that, a run that comes so much later is reason to try again
STATISTICS_S = 1.0
_NUMBERS = itertools.count(1)  # of runs: a number is the same in whatever engine a run moves to


class LocalEngine:
    """Implements ``interface.Engine`` with a worker process; ``run`` is the task that keeps it up.

    >>> import numpy as np
    >>> async def double(executable):  # of one f32[8]
    ...     async with open_local_engine(EngineOptions(platform="cpu"), Pool()) as engine:
    ...         ended = trio.Event()
    ...         outcomes = []
    ...         def done(outcome):
    ...             outcomes.append(outcome)
    ...             ended.set()
    ...         engine.submit(executable, (np.ones(8, "f4").tobytes(),), done)
    ...         await ended.wait()
    ...         return np.frombuffer(outcomes[0].outputs, "f4")

    Args:
        options: How the worker starts.
        pool: The segments this engine may map.
        idle_s: If not 0, the process is started at the first run, and ended after so many seconds
            without one.
        quarantine: The programs that are refused; none where not given.
        spare: A worker that may be up already when this engine needs another one.

    Attributes:
        state: See ``interface.Engine``.
        restarts: How often the worker died and was started again.
        toolchain: The versions a compiled executable depends on; empty before the first start.
        target: What programs are compiled for; a guess before the first start.
        pool: As given.
    """

    def __init__(
        self,
        options: EngineOptions,
        pool: Pool,
        idle_s: float = 0.0,
        quarantine: Quarantine | None = None,
        spare: SpareWorker | None = None,
    ) -> None:
        self.state: State = "idle" if idle_s else "starting"
        self.restarts = 0
        self.toolchain = ""
        self.target = CompileTarget(options.platform or "cpu")
        self._options = options
        self.pool = pool
        self._devices: tuple[Device, ...] = ()
        self._dispatcher = Dispatcher(pool, quarantine)
        self._scope = trio.CancelScope()
        self._idle_s = idle_s
        self._spare = spare
        self._failed_at = 0.0
        self._start_wanted = trio.Event()
        self._started = trio.Event()  # or failed
        self._ended = trio.Event()
        self._given: WorkerConnection | None = None  # by another engine
        self._heir: LocalEngine | None = None  # takes our worker over

    @property
    def pid(self) -> int:
        """The worker's process id, 0 while there is none."""
        connection = self._dispatcher.connection
        return connection.process.pid if connection is not None else 0

    @property
    def failure(self) -> str:
        """Why no worker can be started; empty while one can be."""
        cause = self._dispatcher.failure
        return cause.reason if cause is not None and self.state == "failed" else ""

    @property
    def quarantine(self) -> Quarantine:
        """The deaths of its workers."""
        return self._dispatcher.quarantine

    @property
    def quarantined(self) -> Mapping[str, str]:
        """Why a program is refused, by ``Executable.key``."""
        return self._dispatcher.quarantine.quarantined

    @property
    def device_fault(self) -> str:
        """Why the last worker could not use its devices any more; see ``interface.Engine``."""
        return self.quarantine.device_fault

    def devices(self) -> tuple[Device, ...]:
        """Returns the devices, known since the worker was first up."""
        return self._devices

    async def wait_ready(self) -> None:
        """Waits for the first start.

        Raises:
            RunFailed: The worker could not be started.
        """
        await self._started.wait()
        if self._dispatcher.failure is not None:
            raise self._dispatcher.failure.recorded()

    def repair_with(self, repair: Repair | None) -> None:
        """Lets runs wait for ``repair`` where their executable cannot be loaded."""
        self._dispatcher.repairs.repair = repair

    # Submitting

    def submit(
        self,
        executable: Executable,
        inputs: tuple[Input | OutputRef, ...],
        done: Callable[[Outcome], None],
        *,
        shared_as: int = 0,
        user: int = 0,
    ) -> int:
        """Submits one run and returns its number; see ``interface.Engine``."""
        run = EngineRun(next(_NUMBERS), executable, inputs, done, shared_as, user)
        self._submit(run)
        return run.number

    def _submit(self, run: EngineRun) -> None:
        if self._dispatcher.connection is None:
            self.ensure_starting()
        self._dispatcher.submit(run)

    def ensure_starting(self) -> None:
        """Starts a worker if there is none because of idleness, or of a failure long ago."""
        has_failed = self._dispatcher.failure is not None and not self._scope.cancel_called
        if has_failed and trio.current_time() - self._failed_at >= RETRY_S:
            self._dispatcher.failure = None
        if self._dispatcher.failure is None:
            self._start_wanted.set()

    def cancel(self, number: int, *, kill: bool = False) -> bool:
        """Ends a run with Cancelled; see ``interface.Engine``."""
        return self._dispatcher.cancel(number, kill=kill)

    def take_accused(self) -> list[int]:
        """Returns the users that workers probably died of since the last call."""
        accused, self._dispatcher.accused = self._dispatcher.accused, []
        return accused

    def is_loading(self, number: int) -> bool:
        """Returns whether a run has not begun because its executable is loaded."""
        connection = self._dispatcher.connection
        run = connection.in_flight.get(number) if connection is not None else None
        return connection is not None and run is not None and connection.is_loading(run)

    async def load(
        self, executable: Executable, timeout_s: float = math.inf
    ) -> CompileFigures | None:
        """Makes an executable ready now; see ``interface.Engine``."""
        ended, outcomes = trio.Event(), list[Outcome]()

        def done(outcome: Outcome) -> None:
            outcomes.append(outcome)
            ended.set()

        run = EngineRun(next(_NUMBERS), executable, None, done)
        self._submit(run)
        try:
            with trio.move_on_after(timeout_s) as deadline:
                await ended.wait()
        finally:  # does nothing if it has ended
            self.cancel(run.number, kill=deadline.cancelled_caught)
        if deadline.cancelled_caught:
            raise TimedOut(
                f"the engine did not load the program in {timeout_s:g} s (-o compile_timeout), "
                "and was started again"
            )
        if outcomes[0].error is not None:
            raise outcomes[0].error.recorded()
        return outcomes[0].compiled

    async def statistics(self) -> dict[int, dict[str, int]]:
        """Returns memory figures by device id; the last known ones if the worker is busy."""
        dispatcher, request, answered = self._dispatcher, next(_NUMBERS), trio.Event()
        if dispatcher.connection is not None:
            dispatcher.statistics_requests[request] = answered
            with contextlib.suppress(Closed), trio.move_on_after(STATISTICS_S):
                await dispatcher.connection.request_statistics(request)
                await answered.wait()
            dispatcher.statistics_requests.pop(request, None)
        return dispatcher.memory_statistics

    # Answers

    def poll(self, wait_s: float = 0.0) -> None:
        """Takes the answers that are there, or come within ``wait_s`` seconds of busy waiting.

        See ``interface.Engine``.  Nothing is waited for if no run is in flight.
        """
        connection = self._dispatcher.connection
        if connection is not None and connection.in_flight:
            with contextlib.suppress(Closed):  # the reading task sees it too
                spin(self._dispatcher.drain, wait_s)

    # Another worker for one user

    def give_user(self, user: int, heir: LocalEngine) -> None:
        """Moves a user's runs to another engine of the same pool.

        The heir takes over the worker, if it has none itself: what the user runs there goes on,
        and what others run there also starts again here.  Otherwise the user's runs start again.

        Args:
            user: The user.
            heir: The engine that runs what the user submits from now on.
        """
        if heir.state == "idle" and not (heir._start_wanted.is_set() or heir._dispatcher.has_work):
            connection = self._dispatcher.hand_over(user, heir._dispatcher)
            if connection is not None:
                self.state, self._heir = "starting", heir
                connection.scope.cancel()
                return
        else:
            self._dispatcher.move(user, heir._dispatcher)
        if heir._dispatcher.connection is None and heir._dispatcher.has_work:
            heir.ensure_starting()
        heir._dispatcher.pump()

    def _take_over(self, connection: WorkerConnection) -> None:
        """Serves the worker of another engine, which does so no longer."""
        self._given = connection
        self._start_wanted.set()

    # The process

    async def run(self) -> None:
        """Keeps a worker running until ``close``."""
        try:
            with self._scope:
                while True:
                    await self._run_worker_once()
        finally:
            self._give_up(Cancelled("the engine was ended"))
            self._ended.set()

    async def _run_worker_once(self) -> None:
        """Starts a worker and serves until it has ended, for whatever reason."""
        is_heir = self._dispatcher.connection is not None  # another engine serves it for now
        if is_heir or (self._idle_s and not self._dispatcher.has_work):
            self.state = "idle"
            await self._start_wanted.wait()
        try:
            connection = self._given or await self._start()
        except JaxfsError as error:
            self._failed_at = trio.current_time()
            self._give_up(error)
            self._start_wanted = trio.Event()  # only what comes after the failure counts
            await self._start_wanted.wait()
            return
        self._given = None
        await self._serve(connection)
        if self._heir is not None:
            heir, self._heir = self._heir, None
            heir._take_over(connection)
        elif not connection.was_idle:
            self.state, self.restarts = "restarting", self.restarts + 1

    async def _start(self) -> WorkerConnection:
        """Connects to the spare worker, or to a new one.

        Raises:
            JaxfsError: None can be started.
        """
        taken = self._spare.take() if self._spare is not None else None
        process, ready = taken or await start_worker(self._options)
        self._devices, self.toolchain = ready.devices, ready.toolchain
        self.target = ready.target or CompileTarget(ready.platform)
        self.pool.has_device_cache = ready.has_device_cache
        self.quarantine.shares_context = any(device.has_own_memory for device in ready.devices)
        return WorkerConnection(process, self.pool)

    async def _serve(self, connection: WorkerConnection) -> None:
        """Exchanges messages until the process has ended, for whatever reason."""
        self._dispatcher.connection, self.state = connection, "ready"
        self._start_wanted = trio.Event()
        self._started.set()
        try:
            self._dispatcher.pump()
            with trio.CancelScope() as connection.scope:
                await self._exchange(connection)
        finally:
            if self._heir is None or self._scope.cancel_called:
                await self._end(connection)

    async def _exchange(self, connection: WorkerConnection) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write, connection)
            nursery.start_soon(connection.process.log_stderr)
            if self._idle_s:
                nursery.start_soon(self._end_when_idle, connection)
            await self._read(connection)
            nursery.cancel_scope.cancel()

    async def _end(self, connection: WorkerConnection) -> None:
        """Ends a worker; what it has not answered runs again in the next one."""
        dispatcher = (self._heir or self)._dispatcher
        dispatcher.connection = None
        status = await connection.end(terminate_first=self._scope.cancel_called)
        dispatcher.requeue_after_death(connection, status)

    async def _read(self, connection: WorkerConnection) -> None:
        """Takes answers until there will be no more."""
        while True:
            quarantine = self._dispatcher.quarantine
            pause_s = quarantine.grace_s if quarantine.suspected_runs else float("inf")
            with trio.move_on_after(pause_s):
                await trio.lowlevel.wait_readable(connection.channel.sock)
            try:
                self._dispatcher.drain()
            except Closed:
                return

    async def _write(self, connection: WorkerConnection) -> None:
        """Sends queued runs when a full socket has room again."""
        while True:
            await self._dispatcher.socket_full.wait()
            await trio.lowlevel.wait_writable(connection.channel.sock)
            self._dispatcher.socket_full = trio.Event()
            self._dispatcher.pump()

    async def _end_when_idle(self, connection: WorkerConnection) -> None:
        while not connection.was_idle:
            await trio.sleep(self._idle_s / 4)
            idle_s = trio.current_time() - connection.sent_at
            if idle_s >= self._idle_s and not self._dispatcher.has_work:
                connection.was_idle = connection.was_killed = True
                connection.process.kill()

    def _give_up(self, cause: JaxfsError) -> None:
        if not isinstance(cause, Cancelled):
            log.error("%s", cause)
        self.state = "failed"
        self._dispatcher.fail(cause)
        self._started.set()

    async def close(self) -> None:
        """Ends the worker; runs under way fail with Cancelled."""
        self._dispatcher.fail(Cancelled("the engine was closed"))
        self._scope.cancel()
        await self._ended.wait()


@contextlib.asynccontextmanager
async def open_local_engine(
    options: EngineOptions, pool: Pool, spare: SpareWorker | None = None
) -> AsyncIterator[LocalEngine]:
    """Opens a local engine that is ready, and ends it on the way out.

    Raises:
        RunFailed: The worker cannot be started.
    """
    engine = LocalEngine(options, pool, spare=spare)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.run)
        try:
            await engine.wait_ready()
            yield engine
        finally:
            with trio.CancelScope(shield=True):
                await engine.close()
