"""The engine in a process of its own, as the front holds it.

``submit`` sends at once and never waits; answers come when the event loop sees them or somebody
calls ``poll``.  When the process dies it is started again, everything it needs is sent again, and
what it had not answered runs again: programs are pure.
"""

from __future__ import annotations

import contextlib
import itertools
import select
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import msgspec
import trio

from jaxfs.engine import protocol
from jaxfs.engine.generation import Generation
from jaxfs.engine.interface import Executable, Input, Outcome, State
from jaxfs.engine.process import WorkerProcess
from jaxfs.engine.protocol import MAX_UNDER_WAY, Device, Options
from jaxfs.engine.runs import Run
from jaxfs.engine.suspects import GRACE_S, Suspects
from jaxfs.errors import Cancelled, JaxfsError, RunFailed, from_errno, from_os_error
from jaxfs.wire.channel import Closed
from jaxfs.wire.memory import Pool

ATTEMPTS = 3  # of a run whose engine dies
STARTS = 3  # that fail in a row before the engine counts as failed
PAUSE_S = 0.1  # between them
STATISTICS_S = 1.0


class LocalEngine:
    """Implements ``interface.Engine``.  ``run`` is the task that keeps the process alive."""

    def __init__(self, options: Options, pool: Pool) -> None:
        self.state: State = "starting"
        self.restarts = 0
        self.toolchain = ""
        self._options = options
        self._pool = pool
        self._devices: tuple[Device, ...] = ()
        self._suspects = Suspects()
        self._generation: Generation | None = None
        self._queue: OrderedDict[int, Run] = OrderedDict()
        self._numbers = itertools.count(1)
        self._failure: JaxfsError | None = None
        self._memory: dict[int, dict[str, int]] = {}
        self._asked: dict[int, trio.Event] = {}
        self._scope = trio.CancelScope()
        self._started = trio.Event()  # or failed for good
        self._full = trio.Event()
        self._ended = trio.Event()
        self._handlers: dict[type, Callable[[Generation, Any], None]] = {
            protocol.Done: self._on_done,
            protocol.Failed: self._on_failed,
            protocol.Loaded: self._on_loaded,
            protocol.LoadFailed: self._on_load_failed,
            protocol.Stats: self._on_stats,
        }

    @property
    def pid(self) -> int:
        """The engine's process, 0 while there is none."""
        return self._generation.process.pid if self._generation else 0

    @property
    def quarantined(self) -> Mapping[str, str]:
        """Why a program is refused, by ``Executable.key``."""
        return self._suspects.quarantined

    def devices(self) -> tuple[Device, ...]:
        """The devices, known since the engine was first up."""
        return self._devices

    async def wait_ready(self) -> None:
        """Wait for the first start.  Raises RunFailed with the cause where there is none."""
        await self._started.wait()
        if self._failure is not None:
            raise self._failure

    # Submitting

    def submit(
        self,
        executable: Executable,
        inputs: tuple[Input, ...],
        done: Callable[[Outcome], None],
    ) -> int:
        """Submit one run and return its number; see ``interface.Engine``."""
        return self._enqueue(Run(next(self._numbers), executable, inputs, done))

    def _enqueue(self, run: Run) -> int:
        try:
            run.hold(self._pool)
        except OSError as error:
            run.inputs = None
            self._refuse(run, from_os_error(error, "keeping the inputs of the run"))
        else:
            self._queue[run.number] = run
            self._pump()
        return run.number

    def _pump(self) -> None:
        """Send what there is room for."""
        generation = self._generation
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

    def _may_send(self, generation: Generation | None) -> bool:
        if generation is None:
            return self._failure is not None
        if self._suspects.runs and generation.in_flight:
            return trio.current_time() - generation.sent_at >= GRACE_S
        return len(generation.in_flight) < MAX_UNDER_WAY

    def _send(self, generation: Generation, run: Run) -> bool:
        if run.inputs is None and generation.has_loaded(run.executable):
            self._settle(run, Outcome())
            return True
        generation.detach(self._pool.take_retired())
        sent = generation.send(run)
        if not sent:
            self._full.set()
        return sent

    def _refusal(self, run: Run) -> JaxfsError | None:
        if self._failure is not None:
            return self._failure
        if run.key in self._suspects.quarantined:
            return RunFailed(self._suspects.quarantined[run.key])
        if run.attempts >= ATTEMPTS:
            return RunFailed(f"the engine died {ATTEMPTS} times while running this")
        return None

    def _refuse(self, run: Run, error: JaxfsError) -> None:
        self._settle(run, Outcome(error=error))

    def _settle(self, run: Run, outcome: Outcome) -> None:
        """End a run from here; its submitter hears of it from the event loop."""
        run.let_go()
        self._suspects.ended(run.number)
        trio.lowlevel.current_trio_token().run_sync_soon(run.end, outcome)

    def cancel(self, number: int, *, kill: bool = False) -> None:
        """End a run with Cancelled; see ``interface.Engine``."""
        cancelled = Outcome(error=Cancelled("the run was cancelled"))
        queued = self._queue.pop(number, None)
        generation = self._generation
        if queued is not None:
            self._settle(queued, cancelled)
        elif generation is not None and number in generation.in_flight:
            run = generation.in_flight[number]
            self._suspects.ended(number)
            if not run.has_ended:
                run.has_ended = True
                trio.lowlevel.current_trio_token().run_sync_soon(run.done, cancelled)
            if kill:
                generation.was_killed = True
                generation.process.kill()

    async def load(self, executable: Executable) -> None:
        """Make an executable ready now.  Raises RunFailed or NoSpace where the engine cannot."""
        ended, outcomes = trio.Event(), list[Outcome]()

        def done(outcome: Outcome) -> None:
            outcomes.append(outcome)
            ended.set()

        number = self._enqueue(Run(next(self._numbers), executable, None, done))
        try:
            await ended.wait()
        finally:
            self.cancel(number)  # nothing, where it has ended
        if outcomes[0].error is not None:
            raise outcomes[0].error

    def unload(self, key: str) -> None:
        """Let the engine forget an executable; a later run loads it again."""
        if self._generation is not None:
            self._generation.unload(key)

    async def statistics(self) -> dict[int, dict[str, int]]:
        """Memory figures by device id; the last known ones while the engine does not answer."""
        generation, request, answered = self._generation, next(self._numbers), trio.Event()
        if generation is not None:
            self._asked[request] = answered
            with trio.move_on_after(STATISTICS_S):
                await generation.channel.send(protocol.Statistics(request))
                await answered.wait()
            self._asked.pop(request, None)
        return self._memory

    # Answers

    def poll(self, wait_s: float = 0.0) -> None:
        """Take the answers that are there, or come within ``wait_s``; see ``interface.Engine``."""
        generation = self._generation
        if generation is None or not generation.in_flight:
            return
        if wait_s:
            select.select([generation.channel.sock], [], [], wait_s)
        with contextlib.suppress(Closed):  # the reading task sees it too
            self._drain(generation)

    def _drain(self, generation: Generation) -> None:
        for _ in range(MAX_UNDER_WAY):  # then it is other tasks' turn
            if not (generation.in_flight or self._asked):
                break
            try:
                found = generation.channel.receive_nowait()
            except msgspec.ValidationError as error:
                raise Closed from error
            if found is None:
                break
            self._handlers[type(found[0])](generation, found[0])
        self._pump()

    def _on_done(self, generation: Generation, message: protocol.Done) -> None:
        run = generation.in_flight.pop(message.call)
        self._suspects.ended(run.number)
        self._suspects.ran_well(run.key)
        run.finished(message.outputs, message.run_usec)

    def _on_failed(self, generation: Generation, message: protocol.Failed) -> None:
        run = generation.in_flight.pop(message.call)
        self._suspects.ended(run.number)
        run.let_go()
        error = from_errno(message.errno, message.reason, message.diagnostics)
        run.end(Outcome(error=error))

    def _on_loaded(self, generation: Generation, message: protocol.Loaded) -> None:
        for run in generation.loaded(message.executable):
            self._settle(run, Outcome())

    def _on_load_failed(self, generation: Generation, message: protocol.LoadFailed) -> None:
        error = from_errno(message.errno, message.reason, message.diagnostics)
        for run in generation.load_failed(message.executable):
            self._refuse(run, error)

    def _on_stats(self, generation: Generation, message: protocol.Stats) -> None:
        self._memory = message.memory
        if message.request in self._asked:
            self._asked[message.request].set()

    # The process

    async def run(self) -> None:
        """Keep a process running until ``close``."""
        try:
            with self._scope:
                await self._supervise()
                await trio.sleep_forever()  # failed for good
        finally:
            self._fail(Cancelled("the engine was closed"))
            self._ended.set()

    async def _supervise(self) -> None:
        failures = 0
        while failures < STARTS:
            try:
                generation = await self._start()
            except JaxfsError as error:
                failures, cause = failures + 1, error
                await trio.sleep(PAUSE_S)
            else:
                failures = 0
                await self._serve(generation)
                self.state, self.restarts = "restarting", self.restarts + 1
        self._fail(cause)

    async def _start(self) -> Generation:
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
        return Generation(process, self._pool)

    async def _serve(self, generation: Generation) -> None:
        """Exchange messages until the process has ended, whoever ended it."""
        self._generation, self.state = generation, "ready"
        self._started.set()
        try:
            self._pump()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, generation)
                await self._read(generation)
                nursery.cancel_scope.cancel()
        finally:
            self._generation = None
            closing = self._scope.cancel_called
            self._bury(generation, await generation.process.end(terminate_first=closing))

    async def _read(self, generation: Generation) -> None:
        """Take answers until there will be no more."""
        while True:
            try:
                self._drain(generation)
            except Closed:
                return
            pause_s = GRACE_S if self._suspects.runs else float("inf")
            with trio.move_on_after(pause_s):
                await trio.lowlevel.wait_readable(generation.channel.sock)

    async def _write(self, generation: Generation) -> None:
        """Go on sending when a full socket has room again."""
        while True:
            await self._full.wait()
            await trio.lowlevel.wait_writable(generation.channel.sock)
            self._full = trio.Event()
            self._pump()

    def _bury(self, generation: Generation, status: int) -> None:
        """Queue again, in order, what the dead process had not answered."""
        runs = tuple(generation.in_flight.values())
        if not (generation.was_killed or self._scope.cancel_called):
            wanted = [run.number for run in runs if not run.has_ended]
            self._suspects.died({run.key for run in runs}, wanted, status)
            for run in runs:
                run.attempts += 1
        for run in reversed(runs):
            if run.has_ended:
                run.let_go()
            else:
                self._queue[run.number] = run
                self._queue.move_to_end(run.number, last=False)
        for answered in self._asked.values():
            answered.set()

    def _fail(self, cause: JaxfsError) -> None:
        """No run will be served any more."""
        self.state, self._failure = "failed", self._failure or cause
        self._started.set()
        self._pump()

    async def close(self) -> None:
        """End the process; runs under way fail with Cancelled."""
        self._failure = self._failure or Cancelled("the engine was closed")
        self._scope.cancel()
        await self._ended.wait()


@contextlib.asynccontextmanager
async def open_local_engine(options: Options, pool: Pool) -> AsyncIterator[LocalEngine]:
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
