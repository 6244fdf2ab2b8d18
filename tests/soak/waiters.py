"""Thousands wait for a result: what do others notice, and how fast do they go?

The engine is stopped meanwhile (SIGSTOP), so that the result does not come and no CPU is used.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.processes import environment
from benchmarks.rounds import quantile
from jaxfs.testing import eventually
from tests.soak.mount import Mount
from tests.soak.report import Figure

STATS = 3000
PAUSE_S = 0.001
CPU_S = 5.0
ALL_WAIT_S = 120.0
PROCESSES, THREADS = 1000, 10_000
RESULT = "waited_for"


@contextmanager
def unfinished(mount: Mount) -> Iterator[Path]:
    """A result that does not come before the block has ended."""
    engine = mount.engine.pid
    os.kill(engine, signal.SIGSTOP)
    try:
        (mount.program / f"calls/{RESULT}.raw").write_bytes(bytes(64))
        yield mount.path / "results" / RESULT
    finally:
        os.kill(engine, signal.SIGCONT)
        (mount.path / "results" / RESULT).unlink(missing_ok=True)


def _until_waiting(mount: Mount, count: int) -> None:
    eventually(lambda: mount.waiters >= count, ALL_WAIT_S, f"fewer than {count} wait")


def stat_p99_s(mount: Mount) -> float:
    """Of a file that has nothing to do with it; the kernel caches nothing, each asks the front."""
    latencies = []
    for _ in range(STATS):
        before = time.perf_counter()
        (mount.path / "version").stat()
        latencies.append(time.perf_counter() - before)
        time.sleep(PAUSE_S)
    return quantile(latencies, 0.99)


def cpu_percent(mount: Mount) -> float:
    """Of one core, by the front, while no request comes."""
    before = mount.front.cpu_s
    time.sleep(CPU_S)
    return 100 * (mount.front.cpu_s - before) / CPU_S


def a_thousand_processes(mount: Mount) -> list[Figure]:
    """Each a ``cat``; then all are killed."""
    with unfinished(mount) as result:
        processes = [subprocess.Popen(["cat", str(result)]) for _ in range(PROCESSES)]
        try:
            _until_waiting(mount, PROCESSES)
            p99_s, cpu = stat_p99_s(mount), cpu_percent(mount)
        finally:
            gone_s = _kill(processes)
    return [
        Figure(f"{PROCESSES} waiters: stat p99", p99_s * 1e3, 5, "ms"),
        Figure(f"{PROCESSES} waiters: CPU of the front", cpu, 1, "%"),
        Figure(f"{PROCESSES} waiters killed: all gone", gone_s, 0.5, "s"),
    ]


def _kill(processes: list[subprocess.Popen[bytes]]) -> float:
    before = time.perf_counter()
    for process in processes:
        process.kill()
    for process in processes:
        process.wait()
    return time.perf_counter() - before


def ten_thousand_threads(mount: Mount) -> list[Figure]:
    """Of one process."""
    command = [sys.executable, "-m", "tests.soak.waiter"]
    with unfinished(mount) as result:
        process = subprocess.Popen([*command, str(result), str(THREADS)], env=environment())
        try:
            _until_waiting(mount, THREADS)
            p99_s = stat_p99_s(mount)
        finally:
            process.kill()
            process.wait()
    return [Figure(f"{THREADS} waiters: stat p99", p99_s * 1e3, 20, "ms")]
