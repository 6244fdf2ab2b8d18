"""One run: all peers alive side by side, measured in turns, so that a drift hits all alike."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from benchmarks.clients.python_client import CallFailed, Clients, client_processes
from benchmarks.clients.samples import Figure, Sample, figure
from benchmarks.peers import PEERS, Jaxfs, Peer
from benchmarks.peers.jaxfs import MountFailed
from benchmarks.plan import Cell, Plan, sizes
from benchmarks.processes import NotReady
from benchmarks.report import machine
from benchmarks.rounds import Comparison
from benchmarks.workloads import arrays, imports, transformed
from benchmarks.workloads.imports import Imports
from benchmarks.workloads.lifecycle import Lifecycle, front_memory, whole_life

START_FAILURES = (NotReady, MountFailed, OSError, subprocess.SubprocessError)
Say = Callable[[str], None]


@dataclass
class Results:
    """What a run found."""

    machine: dict[str, str]
    load_per_core_before: float
    start_s: dict[str, float] = field(default_factory=dict)  # of each peer, from nothing to ready
    figures: list[Figure] = field(default_factory=list)
    lifecycle: Lifecycle | None = None
    transformed: tuple[Comparison, ...] = ()
    arrays: arrays.Arrays | None = None
    imports: Imports | None = None
    failures: list[str] = field(default_factory=list)
    run_s: float = 0.0


@dataclass(frozen=True)
class _Running:
    peer: Peer
    clients: Clients


def run(names: Sequence[str], plan: Plan, say: Say) -> Results:
    """Measure imports; start the named peers, measure every cell, end them.

    What fails is reported.
    """
    before = perf_counter()
    results = Results(machine.describe(), machine.load_per_core())
    with tempfile.TemporaryDirectory(prefix="jaxfs-bench-") as directory, ExitStack() as stack:
        if "jaxfs" in names:
            say("gradients of imported programs")
            _measure_imports(Path(directory), plan, results)
        running = []
        for name in names:
            say(f"starting {name}")
            started = _start(PEERS[name], Path(directory) / name, plan.cells, stack, results)
            running.extend(started)
        _measure(running, plan, results, say)
    results.run_s = perf_counter() - before
    return results


def _start(
    kind: type[Peer], workdir: Path, cells: tuple[Cell, ...], stack: ExitStack, results: Results
) -> list[_Running]:
    workdir.mkdir()
    clients = stack.enter_context(client_processes())
    try:
        peer = stack.enter_context(kind(workdir, sizes(cells)))  # ends before its clients do
    except START_FAILURES as error:
        results.failures.append(f"{kind.name} did not start: {error}")
        return []
    results.start_s[peer.name] = peer.mount_s if isinstance(peer, Jaxfs) else peer.start_s
    return [_Running(peer, clients)]


def _measure_imports(workdir: Path, plan: Plan, results: Results) -> None:
    try:
        results.imports = imports.measure(workdir, plan.rounds)
    except START_FAILURES as error:
        results.failures.append(f"imported programs: {error}")


def _measure(running: Sequence[_Running], plan: Plan, results: Results, say: Say) -> None:
    mounts = [(one.peer, one.clients) for one in running if isinstance(one.peer, Jaxfs)]
    fresh = [front_memory(jaxfs, "after compiling") for jaxfs, _ in mounts]
    for cell in plan.cells:
        say(f"{cell.size_bytes} bytes, {cell.clients} clients")
        _measure_cell([one for one in running if one.peer.takes(cell)], cell, results)
    for (jaxfs, clients), memory in zip(mounts, fresh, strict=True):
        say("mount, remount, stat while compiling")
        try:
            results.lifecycle = whole_life(jaxfs, clients, memory)
        except (*START_FAILURES, CallFailed, RuntimeError) as error:
            results.failures.append(f"the life of the mount: {error}")
        say("calls of transformed programs")
        try:
            results.transformed = transformed.measure(jaxfs, plan.rounds)
        except (OSError, EOFError, RuntimeError) as error:
            results.failures.append(f"transformed programs: {error}")
        say("arrays that stay")
        try:
            results.arrays = arrays.measure(jaxfs, plan.rounds)
        except (OSError, EOFError, RuntimeError) as error:
            results.failures.append(f"arrays that stay: {error}")


def _measure_cell(running: Sequence[_Running], cell: Cell, results: Results) -> None:
    where = f"{cell.size_bytes} bytes, {cell.clients} clients"
    if cell.memory_bytes > machine.memory_bytes("MemAvailable"):
        results.failures.append(f"{where}: left out, needs {cell.memory_bytes >> 20} MiB of memory")
        return
    samples: dict[str, list[Sample]] = {one.peer.name: [] for one in running}
    for _ in range(cell.rounds):
        for one in running:
            if one.peer.name not in samples:
                continue
            try:
                sample = one.clients.round(one.peer.endpoint(cell.size_bytes), cell)
            except CallFailed as error:
                results.failures.append(f"{one.peer.name}, {where}: {error}")
                del samples[one.peer.name]
            else:
                samples[one.peer.name].append(sample)
    for name, rounds in samples.items():
        results.figures.append(figure(name, cell.size_bytes, cell.clients, rounds))
