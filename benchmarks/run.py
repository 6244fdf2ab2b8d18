"""One run: all peers alive side by side, measured in turns, so that a drift hits all alike."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter

from benchmarks.c_compiler import CannotCompile
from benchmarks.clients.c_client import CClient
from benchmarks.clients.python_client import Clients, client_processes
from benchmarks.clients.samples import CallFailed, Figure, Sample, figure
from benchmarks.peers import Jaxfs, Peer
from benchmarks.peers.jaxfs import MountFailed
from benchmarks.plan import Cell, Client, Plan, Section, sizes
from benchmarks.process_counters import instructions_available
from benchmarks.processes import NotReady
from benchmarks.report import machine
from benchmarks.rounds import Comparison
from benchmarks.transports import OpenFile
from benchmarks.workloads import arrays, imports, lifecycle, transformed

START_FAILURES = (NotReady, MountFailed, CannotCompile, OSError, subprocess.SubprocessError)
FAILURES = (*START_FAILURES, CallFailed, EOFError, RuntimeError)
Say = Callable[[str], None]


@dataclass
class Results:
    """What a run found.

    Attributes:
        machine: name and value.
        load_per_core_before: over 1 means that others used the machine.
        busy_before: how much of the CPUs others used right before the run, 0 to 1.
        counts_instructions: whether the kernel counts them on this machine.
        start_s: of each peer, seconds from nothing to ready.
        peers: of each peer, a line that describes it.
        figures: of each peer in each row.
        lifecycle, transformed, arrays, imports: of jaxfs alone, where they were measured.
        failures: what failed or was left out, in words.
        run_s: seconds of the run.
    """

    machine: dict[str, str]
    load_per_core_before: float
    busy_before: float = 0.0
    counts_instructions: bool = False
    start_s: dict[str, float] = field(default_factory=dict)
    peers: dict[str, str] = field(default_factory=dict)
    figures: list[Figure] = field(default_factory=list)
    lifecycle: lifecycle.Lifecycle | None = None
    transformed: tuple[Comparison, ...] = ()
    arrays: arrays.Arrays | None = None
    imports: imports.Imports | None = None
    failures: list[str] = field(default_factory=list)
    run_s: float = 0.0

    @contextmanager
    def reporting(self, what: str) -> Iterator[None]:
        """A failure of the block becomes one of the run, which goes on."""
        try:
            yield
        except FAILURES as error:
            self.failures.append(f"{what}: {error}")


@dataclass(frozen=True)
class _Running:
    peer: Peer
    clients: Clients


def run(peers: Sequence[Peer], plan: Plan, say: Say) -> Results:
    """Starts the peers, measures the plan's sections, ends the peers.

    What fails is reported in the results.
    """
    before = perf_counter()
    say("how busy is the machine")
    results = Results(
        machine.describe(),
        machine.load_per_core(),
        machine.busy_fraction(),
        instructions_available(),
    )
    with tempfile.TemporaryDirectory(prefix="jaxfs-bench-") as name, ExitStack() as stack:
        directory = Path(name)
        if Section.IMPORTS in plan.sections:
            say("gradients of imported programs")
            with results.reporting("imported programs"):
                results.imports = imports.measure(directory, plan.rounds)
        running = []
        for peer in peers if plan.sections - {Section.IMPORTS} else ():
            say(f"starting {peer.name}")
            with results.reporting(f"{peer.name} did not start"):
                running.append(_start(peer, directory / peer.name, plan, stack, results))
        _measure(running, plan, directory, results, say)
    results.run_s = perf_counter() - before
    return results


def _start(peer: Peer, workdir: Path, plan: Plan, stack: ExitStack, results: Results) -> _Running:
    workdir.mkdir()
    clients = stack.enter_context(client_processes())  # they end after the peer
    stack.enter_context(peer.running(workdir, sizes(plan.cells)))
    results.start_s[peer.name] = peer.mount_s if isinstance(peer, Jaxfs) else peer.start_s
    results.peers[peer.name] = peer.what
    return _Running(peer, clients)


def _measure(
    running: Sequence[_Running], plan: Plan, directory: Path, results: Results, say: Say
) -> None:
    mounts = [(one.peer, one.clients) for one in running if type(one.peer) is Jaxfs]
    fresh = [lifecycle.front_memory(jaxfs, "after compiling") for jaxfs, _ in mounts]
    _measure_calls(running, plan, directory, results, say)
    for (jaxfs, clients), memory in zip(mounts, fresh, strict=True):
        _measure_mount(jaxfs, clients, memory, plan, results, say)


def _measure_mount(
    jaxfs: Jaxfs,
    clients: Clients,
    fresh: lifecycle.FrontMemory,
    plan: Plan,
    results: Results,
    say: Say,
) -> None:
    """The sections that only jaxfs has."""
    if Section.MOUNT in plan.sections:
        say("mount, remount, stat while compiling")
        with results.reporting("the life of the mount"):
            results.lifecycle = lifecycle.measure(jaxfs, clients, fresh, plan.rounds)
    if Section.TRANSFORMED in plan.sections:
        say("calls of transformed programs")
        with results.reporting("transformed programs"):
            results.transformed = transformed.measure(jaxfs, plan.rounds)
    if Section.ARRAYS in plan.sections:
        say("arrays that stay")
        with results.reporting("arrays that stay"):
            results.arrays = arrays.measure(jaxfs, plan.rounds)


def _measure_calls(
    running: Sequence[_Running], plan: Plan, directory: Path, results: Results, say: Say
) -> None:
    c_client = None
    with results.reporting("the C client is left out"):
        c_client = CClient(directory)
    for cell in plan.cells:
        say(cell.words)
        taking = [one for one in running if one.peer.takes(cell)]
        if cell.memory_bytes > machine.memory_bytes("MemAvailable"):
            needed = cell.memory_bytes >> 20
            results.failures.append(f"{cell.words}: left out, needs {needed} MiB of memory")
        elif cell.client == Client.PYTHON or c_client is not None:
            _measure_cell(taking, cell, c_client, results)


def _measure_cell(
    running: Sequence[_Running], cell: Cell, c_client: CClient | None, results: Results
) -> None:
    """A row: in each round every peer has its turn, another one first each time."""
    turns: dict[str, Callable[[], Sample]] = {}
    for one in running:
        with results.reporting(f"{one.peer.name}, {cell.words}"):
            turns[one.peer.name] = _turn(one, cell, c_client)
    samples: dict[str, list[Sample]] = {name: [] for name in turns}
    names = list(turns)
    for number in range(cell.rounds):
        first = number % max(1, len(names))
        for name in (*names[first:], *names[:first]):
            if name not in samples:
                continue
            try:
                samples[name].append(turns[name]())
            except FAILURES as error:
                results.failures.append(f"{name}, {cell.words}: {error}")
                del samples[name]
    for name, rounds in samples.items():
        results.figures.append(figure(name, cell, rounds))


def _turn(one: _Running, cell: Cell, c_client: CClient | None) -> Callable[[], Sample]:
    """What measures a round of the peer."""
    endpoint = one.peer.endpoint(cell.size_bytes)
    if c_client is not None and cell.client != Client.PYTHON and isinstance(endpoint, OpenFile):
        return partial(c_client.round, endpoint, cell, one.peer.server_processes())
    return partial(one.clients.round, endpoint, cell)
