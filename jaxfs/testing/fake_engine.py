"""An engine without processes and devices: runs are Python functions, and end when a test wants."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import attrs
import trio

from jaxfs.engine.interface import (
    Executable,
    Input,
    Outcome,
    OutputRef,
    Range,
    Repair,
    State,
)
from jaxfs.engine.protocol import INPUT_FAILED, CompileFigures, Device
from jaxfs.errors import Cancelled, JaxfsError, RunFailed, TimedOut
from jaxfs.ipc.channel import INLINE_BYTES
from jaxfs.ipc.shared_memory import Pool
from jaxfs.posix.durable_files import sha256_of
from jaxfs.testing.fake_program import FUNCTIONS, FakeProgram, Function

TOOLCHAIN = "jax 0.0.0 jaxlib 0.0.0"


@attrs.define(eq=False)
class FakeRun:
    """A run that was submitted and has not ended.

    Attributes:
        number: The engine's number of it.
        executable: What runs.
        inputs: Ranges are retained until it ends.
        done: Called once with the outcome.
        shared_as: Whether, and as which producer, other runs may take its outputs.
        user: For whom it runs.
        submitted_usec: CLOCK_MONOTONIC.
    """

    number: int
    executable: Executable
    inputs: tuple[Input | OutputRef, ...]
    done: Callable[[Outcome], None]
    shared_as: int = 0
    user: int = 0
    submitted_usec: int = attrs.field(factory=lambda: time.monotonic_ns() // 1000)

    @property
    def awaited(self) -> set[int]:
        """Numbers of the runs that make its inputs."""
        return {value.run for value in self.inputs if isinstance(value, OutputRef)}


def device(number: int, platform: str = "cpu", bytes_limit: int = 0) -> Device:
    """Returns a device as JAX describes one.

    >>> device(1).name
    'cpu:1'
    """
    kinds, attributes = ("pinned",), {"fake": "1"}
    return Device(platform, number, platform, 0, number, kinds, "pinned", attributes, bytes_limit)


class FakeEngine:
    """Implements ``interface.Engine``: computes with Python functions, in the event loop's turn.

    A run calls the function that its ``FakeProgram`` names.  After ``hold`` runs stay under way
    until ``finish``, ``fail`` or ``release``, so that a test decides what ends when.

    Attributes:
        functions: By name; a test may add its own.  What they raise is the run's error.
        runs: Those under way, oldest first.
        loaded: Keys of the executables that ``load`` was called for.
        load_error: Raised by ``load``.
        load_s: How many seconds ``load`` takes.
        compiled: Returned by ``load``.
        loading: Numbers of the runs that wait until their executable is loaded.
        computing: Numbers of the held runs that were cancelled: they go on until a kill.
        killed: Numbers of the runs for which the engine was ended.
        accused: What ``take_accused`` returns.
        memory: What ``statistics`` returns.
        device_fault: Why the process before this one ended, see ``interface.Engine``.
        run_usec: The duration that outcomes report.
        numbers: Of its runs; those of an engine that runs move to are the same.

    >>> async def main():
    ...     engine, outcomes = FakeEngine(), []
    ...     program = FakeProgram.parse(b"double(x: f32[2]) -> f32[2]")
    ...     engine.hold()
    ...     executable = Executable("key", "/nowhere", (0,), program.signature)
    ...     number = engine.submit(executable, (bytes(8),), outcomes.append)
    ...     engine.finish(number, outputs=b"12345678")
    ...     return outcomes[0].outputs
    >>> trio.run(main)
    b'12345678'
    """

    def __init__(
        self,
        devices: Iterable[Device] = (device(0),),
        pool: Pool | None = None,
        numbers: Iterator[int] | None = None,
    ) -> None:
        self.pool = pool or Pool()
        self.state: State = "ready"
        self.failure = ""
        self.pid = 1
        self.restarts = 0
        self.toolchain = TOOLCHAIN
        self.quarantined: dict[str, str] = {}
        self.functions: dict[str, Function] = dict(FUNCTIONS)
        self.runs: dict[int, FakeRun] = {}
        self.loaded: list[str] = []
        self.load_error: JaxfsError | None = None
        self.load_s = 0.0
        self.compiled: CompileFigures | None = None
        self.loading: set[int] = set()
        self.computing: set[int] = set()
        self.killed: list[int] = []
        self.accused: list[int] = []
        self.memory: dict[int, dict[str, int]] = {}
        self.run_usec = 10
        self.device_fault = ""
        self._devices = tuple(devices)
        self._is_held = False
        self._repair: Repair | None = None
        self._repairing: set[str] = set()  # executables, by key
        self._intact: set[str] = set()  # likewise: those that were loaded
        self.numbers = numbers or itertools.count(1)
        self._shared: dict[int, bytes | None] = {}  # outputs of ended runs; None: it failed

    # What an engine does

    def devices(self) -> tuple[Device, ...]:
        """The devices it was made with."""
        return self._devices

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
        for value in inputs:
            if isinstance(value, Range):
                value.segment.retain()
        run = FakeRun(next(self.numbers), executable, inputs, done, shared_as, user)
        self.runs[run.number] = run
        trio.lowlevel.current_trio_token().run_sync_soon(self._run_ready)
        return run.number

    def poll(self, wait_s: float = 0.0) -> None:  # noqa: ARG002  # the interface has it
        """Ends what does not have to wait."""
        self._run_ready()

    def cancel(self, number: int, *, kill: bool = False) -> bool:
        """Ends a run with Cancelled; ``kill`` ends the engine if it still computes it."""
        run = self.runs.get(number)
        computes = number in self.computing or (run is not None and self._is_held)
        if kill and (run is not None or number in self.computing):
            self.killed.append(number)
            self.computing.clear()
            self.restarts += 1
        elif run is not None and self._is_held:
            self.computing.add(number)
        if run is not None:
            self._end(run, Outcome(error=Cancelled("the run was cancelled")))
        return computes

    def take_accused(self) -> list[int]:
        """Returns ``accused``, and empties it."""
        accused, self.accused = self.accused, []
        return accused

    def is_loading(self, number: int) -> bool:
        """Returns whether a run is in ``loading``."""
        return number in self.loading

    async def load(
        self, executable: Executable, timeout_s: float = math.inf
    ) -> CompileFigures | None:
        """Records the key.  Raises ``load_error``; TimedOut, and restarts, if it takes longer."""
        with trio.move_on_after(timeout_s) as deadline:
            await trio.sleep(self.load_s)
        if deadline.cancelled_caught:
            self.restarts += 1
            raise TimedOut(f"the engine did not load the program in {timeout_s:g} s")
        if self.load_error is not None:
            raise self.load_error.recorded()
        self.loaded.append(executable.key)
        return self.compiled

    async def statistics(self) -> dict[int, dict[str, int]]:
        """Returns ``memory``."""
        return self.memory

    async def close(self) -> None:
        """Fails all runs with Cancelled."""
        for run in tuple(self.runs.values()):
            self._end(run, Outcome(error=Cancelled("the engine was closed")))

    # What a test does with it

    def hold(self) -> None:
        """Keeps runs under way from now on."""
        self._is_held = True

    def release(self) -> None:
        """Ends all runs, and new ones at once."""
        self._is_held = False
        self._run_ready()

    def finish(self, number: int = 0, *, outputs: bytes | None = None) -> None:
        """Ends a run well, the oldest one for 0, with these outputs or those of its function."""
        run = self.runs[number or min(self.runs)]
        self._end(run, self._outcome(run) if outputs is None else self._well(run, outputs))

    def fail(self, number: int = 0, error: JaxfsError | None = None) -> None:
        """Ends a run with an error, the oldest one for 0."""
        run = self.runs[number or min(self.runs)]
        self._end(run, Outcome(error=error or RunFailed("the run failed, as the test wants")))

    def die(self) -> None:
        """Ends the process: runs stay under way, to run again after ``restart``."""
        self.state, self.pid, self._is_held = "restarting", 0, True
        self._intact.clear()

    def restart(self) -> None:
        """Starts another process after ``die``, which runs what is under way again."""
        self.state, self.pid, self.restarts = "ready", 1, self.restarts + 1
        self.release()

    def give_user(self, user: int, heir: FakeEngine) -> None:
        """Moves a user's runs to another engine, where they go on; those of others do so here."""
        given = [run for run in self.runs.values() if run.user == user]
        for run in given:
            heir.runs[run.number] = self.runs.pop(run.number)
        heir._is_held = self._is_held
        heir.functions, heir.computing = self.functions, self.computing

    # Running

    def _run_ready(self) -> None:
        """Ends runs in the order of submission, except those whose inputs are still computed."""
        for run in tuple(self.runs.values()):
            if self._is_held:
                return
            if run.number not in self.runs or run.awaited & self.runs.keys():
                continue
            if self._repair is None or not self._is_damaged(run):
                self._end(run, self._outcome(run))

    def repair_with(self, repair: Repair, /) -> None:
        """Lets runs wait for ``repair`` where the file of their executable is damaged."""
        self._repair = repair

    def _is_damaged(self, run: FakeRun) -> bool:
        """Returns whether a run cannot begin; its executable is repaired then."""
        key, executable = run.executable.key, run.executable
        if key not in self._repairing and key not in self._intact:
            try:
                digest = sha256_of(Path(executable.path))
            except OSError:
                digest = "missing"
            if executable.digest in ("", digest):
                self._intact.add(key)
            elif self._repair is not None:
                self._repairing.add(key)
                self._repair(executable, RunFailed("it is damaged"), partial(self._repaired, key))
        return key in self._repairing

    def _repaired(self, key: str, outcome: Executable | JaxfsError) -> None:
        self._repairing.discard(key)
        for run in [run for run in self.runs.values() if run.executable.key == key]:
            if isinstance(outcome, JaxfsError):
                self._end(run, Outcome(error=outcome))
            else:
                run.executable = outcome
        self._run_ready()

    def _outcome(self, run: FakeRun) -> Outcome:
        reason = self.quarantined.get(run.executable.key)
        if reason is not None:
            return Outcome(error=RunFailed(reason))
        try:
            program = FakeProgram.parse(Path(run.executable.path).read_bytes())
            inputs = [self._bytes_of(value) for value in run.inputs]
            return self._well(run, program.run(inputs, self.functions))
        except JaxfsError as error:
            return Outcome(error=error.recorded(), sent_usec=run.submitted_usec)
        except Exception as error:
            return Outcome(error=RunFailed(f"{type(error).__name__}: {error}"))

    def _well(self, run: FakeRun, outputs: bytes) -> Outcome:
        found: Input = outputs
        if len(outputs) > INLINE_BYTES:
            segment, offset = self.pool.take_range(len(outputs))
            segment.write(offset, outputs)
            found = Range(segment, offset, len(outputs))
        if run.shared_as:
            self._shared[run.number] = outputs
        return Outcome(found, None, self.run_usec, run.submitted_usec, run.submitted_usec)

    def _bytes_of(self, value: Input | OutputRef) -> bytes:
        if isinstance(value, Range):
            return value.segment.read(value.offset, value.nbytes)
        if isinstance(value, OutputRef):
            whole = self._shared.get(value.run)
            if whole is None:
                raise RunFailed(INPUT_FAILED)
            return whole[value.offset : value.offset + value.nbytes]
        return value

    def _end(self, run: FakeRun, outcome: Outcome) -> None:
        del self.runs[run.number]
        for value in run.inputs:
            if isinstance(value, Range):
                value.segment.release()
        run.done(outcome)
