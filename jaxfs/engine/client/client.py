"""The engine in a process of its own, as the front holds it.

``submit`` sends at once and never waits; answers come when the event loop sees them or somebody
calls ``poll``.  When the process dies it is started again, everything it needs is sent again, and
what it had not answered runs again: programs are pure.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Callable, Mapping

import trio

from jaxfs.engine.client.connection import WorkerConnection
from jaxfs.engine.client.dispatcher import Dispatcher
from jaxfs.engine.client.process import WorkerProcess
from jaxfs.engine.client.quarantine import GRACE_S
from jaxfs.engine.client.run import EngineRun
from jaxfs.engine.interface import Executable, Input, Outcome, OutputRef, State
from jaxfs.engine.protocol import Device, EngineOptions
from jaxfs.errors import Cancelled, JaxfsError, from_os_error
from jaxfs.ipc.channel import Closed
from jaxfs.ipc.shared_memory import Pool

STARTS = 3  # that fail in a row before the engine counts as failed
PAUSE_S = 0.1  # between them
RETRY_S = 10.0  # after that, a run that comes so much later is reason to try again
STATISTICS_S = 1.0


class LocalEngine:
    """Implements ``interface.Engine``.  ``run`` is the task that keeps the process alive.

    With ``idle_s`` the process is started at the first run and ended when there was none for so
    long.
    """

    def __init__(self, options: EngineOptions, pool: Pool, idle_s: float = 0.0) -> None:
        self.state: State = "idle" if idle_s else "starting"
        self.restarts = 0
        self.toolchain = ""
        self._options = options
        self.pool = pool
        self._devices: tuple[Device, ...] = ()
        self._runs = Dispatcher(pool)
        self._numbers = itertools.count(1)
        self._scope = trio.CancelScope()
        self._idle_s = idle_s
        self._failed_at = 0.0
        self._wanted = trio.Event()
        self._started = trio.Event()  # or failed
        self._ended = trio.Event()

    @property
    def pid(self) -> int:
        """The engine's process, 0 while there is none."""
        return self._runs.connection.process.pid if self._runs.connection else 0

    @property
    def quarantined(self) -> Mapping[str, str]:
        """Why a program is refused, by ``Executable.key``."""
        return self._runs.quarantine.quarantined

    def devices(self) -> tuple[Device, ...]:
        """The devices, known since the engine was first up."""
        return self._devices

    async def wait_ready(self) -> None:
        """Wait for the first start.  Raises RunFailed with the cause where there is none."""
        await self._started.wait()
        if self._runs.failure is not None:
            raise self._runs.failure

    # Submitting

    def submit(
        self,
        executable: Executable,
        inputs: tuple[Input | OutputRef, ...],
        done: Callable[[Outcome], None],
        *,
        shared_as: int = 0,
    ) -> int:
        """Submit one run and return its number; see ``interface.Engine``."""
        run = EngineRun(next(self._numbers), executable, inputs, done, shared_as=shared_as)
        self._submit(run)
        return run.number

    def _submit(self, run: EngineRun) -> None:
        if self._runs.connection is None:
            self.ensure_starting()
        self._runs.submit(run)

    def ensure_starting(self) -> None:
        """Have a process started, if there is none because of idleness or of a failure long ago."""
        has_failed = self._runs.failure is not None and not self._scope.cancel_called
        if has_failed and trio.current_time() - self._failed_at >= RETRY_S:
            self._runs.failure = None
        if self._runs.failure is None:
            self._wanted.set()

    def cancel(self, number: int, *, kill: bool = False) -> None:
        """End a run with Cancelled; see ``interface.Engine``."""
        self._runs.cancel(number, kill=kill)

    async def load(self, executable: Executable) -> None:
        """Make an executable ready now.  Raises RunFailed or NoSpace where the engine cannot."""
        ended, outcomes = trio.Event(), list[Outcome]()

        def done(outcome: Outcome) -> None:
            outcomes.append(outcome)
            ended.set()

        run = EngineRun(next(self._numbers), executable, None, done)
        self._submit(run)
        try:
            await ended.wait()
        finally:
            self.cancel(run.number)  # nothing, where it has ended
        if outcomes[0].error is not None:
            raise outcomes[0].error

    def unload(self, key: str) -> None:
        """Let the engine forget an executable; a later run loads it again."""
        if self._runs.connection is not None:
            self._runs.connection.unload(key)

    async def statistics(self) -> dict[int, dict[str, int]]:
        """Memory figures by device id; the last known ones while the engine does not answer."""
        generation, request, answered = self._runs.connection, next(self._numbers), trio.Event()
        if generation is not None:
            self._runs.statistics_requests[request] = answered
            with contextlib.suppress(Closed), trio.move_on_after(STATISTICS_S):
                await generation.request_statistics(request)
                await answered.wait()
            self._runs.statistics_requests.pop(request, None)
        return self._runs.memory_statistics

    # Answers

    def poll(self, wait_s: float = 0.0) -> None:
        """Take the answers that are there, or come within ``wait_s``; see ``interface.Engine``."""
        generation = self._runs.connection
        if generation is None or not generation.in_flight:
            return
        expected = len(generation.in_flight)
        deadline = time.perf_counter() + wait_s
        with contextlib.suppress(Closed):  # the reading task sees it too
            self._runs.drain(generation)
            while len(generation.in_flight) == expected and time.perf_counter() < deadline:
                self._runs.drain(generation)

    # The process

    async def run(self) -> None:
        """Keep a process running until ``close``."""
        try:
            with self._scope:
                while True:
                    await self._live()
        finally:
            self._give_up(Cancelled("the engine was ended"))
            self._ended.set()

    async def _live(self) -> None:
        """From one start to the end of the process, whatever ends it."""
        if self._idle_s and not self._runs.has_work:
            self.state = "idle"
            await self._wanted.wait()
        try:
            generation = await self._start_patiently()
        except JaxfsError as error:
            self._failed_at = trio.current_time()
            self._give_up(error)
            self._wanted = trio.Event()  # only what comes after the failure counts
            await self._wanted.wait()
            return
        await self._serve(generation)
        if not generation.was_idle:
            self.state, self.restarts = "restarting", self.restarts + 1

    async def _start_patiently(self) -> WorkerConnection:
        for attempt in range(STARTS):
            try:
                return await self._start()
            except JaxfsError:
                if attempt == STARTS - 1:
                    raise
                await trio.sleep(PAUSE_S)
        raise AssertionError("not reached")

    async def _start(self) -> WorkerConnection:
        try:
            process = WorkerProcess(self._options)
        except OSError as error:
            raise from_os_error(error, "starting the engine") from error
        try:
            ready = await process.ready()
        except BaseException:
            await process.end()
            raise
        self._devices, self.toolchain = ready.devices, ready.toolchain
        self.pool.has_device_cache = ready.has_device_cache
        return WorkerConnection(process, self.pool)

    async def _serve(self, generation: WorkerConnection) -> None:
        """Exchange messages until the process has ended, whoever ended it."""
        self._runs.connection, self.state = generation, "ready"
        self._wanted = trio.Event()
        self._started.set()
        try:
            self._runs.pump()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, generation)
                nursery.start_soon(generation.process.listen)
                if self._idle_s:
                    nursery.start_soon(self._end_when_idle, generation)
                await self._read(generation)
                nursery.cancel_scope.cancel()
        finally:
            self._runs.connection = None
            closing = self._scope.cancel_called
            self._runs.requeue_after_death(
                generation, await generation.process.end(terminate_first=closing)
            )

    async def _read(self, generation: WorkerConnection) -> None:
        """Take answers until there will be no more."""
        while True:
            pause_s = GRACE_S if self._runs.quarantine.suspected_runs else float("inf")
            with trio.move_on_after(pause_s):
                await trio.lowlevel.wait_readable(generation.channel.sock)
            try:
                self._runs.drain(generation)
            except Closed:
                return

    async def _write(self, generation: WorkerConnection) -> None:
        """Go on sending when a full socket has room again."""
        while True:
            await self._runs.socket_full.wait()
            await trio.lowlevel.wait_writable(generation.channel.sock)
            self._runs.socket_full = trio.Event()
            self._runs.pump()

    async def _end_when_idle(self, generation: WorkerConnection) -> None:
        while not generation.was_idle:
            await trio.sleep(self._idle_s / 4)
            idle_s = trio.current_time() - generation.sent_at
            if idle_s >= self._idle_s and not self._runs.has_work:
                generation.was_idle = generation.was_killed = True
                generation.process.kill()

    def _give_up(self, cause: JaxfsError) -> None:
        self.state = "failed"
        self._runs.fail(cause)
        self._started.set()

    async def close(self) -> None:
        """End the process; runs under way fail with Cancelled."""
        self._runs.fail(Cancelled("the engine was closed"))
        self._scope.cancel()
        await self._ended.wait()


@contextlib.asynccontextmanager
async def open_local_engine(options: EngineOptions, pool: Pool) -> AsyncIterator[LocalEngine]:
    """A local engine that is ready, and ended on the way out."""
    engine = LocalEngine(options, pool)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.run)
        try:
            await engine.wait_ready()
            yield engine
        finally:
            with trio.CancelScope(shield=True):
                await engine.close()
