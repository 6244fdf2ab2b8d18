"""What only a mount has: getting ready, coming back, staying small, answering while it works."""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from benchmarks.clients.python_client import Clients, check, reply_for, request_for
from benchmarks.peers import Jaxfs
from benchmarks.plan import SMALL, Cell
from benchmarks.rounds import Spread, quantile

STAT_PAUSE_S = 0.001
STAT_S = 4.0
COMPILE_LIMIT_S = 90.0
_AT_FDCWD, _AT_STATX_FORCE_SYNC, _STATX_BASIC = -100, 0x2000, 0x7FF  # linux/fcntl.h, linux/stat.h


@dataclass(frozen=True)
class FrontMemory:
    """Of the front's process; ``when`` in words."""

    when: str
    rss_bytes: int
    anonymous_bytes: int
    shared_bytes: int  # shared memory: the arrays of calls
    maps_jaxlib: bool


@dataclass(frozen=True)
class Stats:
    """``stat`` of an unrelated file, asked of the front each time, while it works."""

    clients: int
    compile_s: float
    calls_per_s: float
    stats: int
    p50_s: float
    p99_s: float
    max_s: float


@dataclass(frozen=True)
class Lifecycle:
    """All of it.

    Attributes:
        mount_s: seconds of the first mount.
        remount_s: seconds of the later ones, with the state directory of the first.
        first_call_s: seconds of the first call after a remount.
        memory: of the front, before and after all calls.
        stats: beside a long compile.
    """

    mount_s: float
    remount_s: Spread
    first_call_s: Spread
    memory: tuple[FrontMemory, FrontMemory]
    stats: Stats


def front_memory(jaxfs: Jaxfs, when: str) -> FrontMemory:
    """What /proc shows of the front now."""
    proc = Path("/proc") / str(jaxfs.front())
    rows = dict(row.split(":", 1) for row in (proc / "status").read_text().splitlines())
    rss, anonymous, shared = (
        int(rows[key].split()[0]) << 10 for key in ("VmRSS", "RssAnon", "RssShmem")
    )
    return FrontMemory(when, rss, anonymous, shared, "jaxlib" in (proc / "maps").read_text())


_libc = ctypes.CDLL(None, use_errno=True)


def stat_through(path: Path) -> None:
    """stat(2) that the kernel may not answer from its attribute cache.  Raises OSError."""
    room = ctypes.create_string_buffer(256)
    flags = _AT_STATX_FORCE_SYNC
    if _libc.statx(_AT_FDCWD, os.fsencode(path), flags, _STATX_BASIC, room):
        raise OSError(ctypes.get_errno(), "statx", str(path))


@contextmanager
def _copying(source: Path, target: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``cp`` in a process of its own, which ends when the program is compiled."""
    process = subprocess.Popen(["cp", str(source), str(target)])
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _stats_while(path: Path, process: subprocess.Popen[bytes], seconds: float) -> list[float]:
    latencies = []
    until = perf_counter() + seconds
    while process.poll() is None and perf_counter() < until:
        before = perf_counter()
        stat_through(path)
        latencies.append(perf_counter() - before)
        time.sleep(STAT_PAUSE_S)
    return latencies


def stat_while_compiling(jaxfs: Jaxfs, clients: Clients) -> Stats:
    """8 clients, a long compile and the stats, all at once; the stats end with the first to end.

    Raises CallFailed; RuntimeError where the long program does not compile.
    """
    cell = Cell(SMALL, clients=8, rounds=1, seconds=STAT_S)
    with clients.calling(jaxfs.endpoint(SMALL), cell) as result:
        before = perf_counter()
        source, target = jaxfs.sources / "slow.mlir", jaxfs.source_in_mount("slow")
        with _copying(source, target) as copying:
            latencies = _stats_while(jaxfs.mountpoint / "version", copying, STAT_S)
            if copying.wait(COMPILE_LIMIT_S):
                raise RuntimeError(f"cp of the long compile ended with {copying.returncode}")
        compile_s = perf_counter() - before
    sample = result[0]
    return Stats(
        clients=cell.clients,
        compile_s=compile_s,
        calls_per_s=len(sample.latencies_ns) * 1e9 / (sample.ended_ns - sample.began_ns),
        stats=len(latencies),
        p50_s=quantile(latencies, 0.5),
        p99_s=quantile(latencies, 0.99),
        max_s=max(latencies),
    )


def first_call(jaxfs: Jaxfs) -> float:
    """Seconds for open, write, read and close of a program that is there."""
    request = request_for(SMALL)
    before = perf_counter()
    with closing(jaxfs.endpoint(SMALL).connect()) as transport:
        check(transport, request, reply_for(request))
    return perf_counter() - before


def remount(jaxfs: Jaxfs) -> tuple[float, float]:
    """(seconds to mount again, seconds of the first call after it).  Raises MountFailed."""
    jaxfs.unmount()
    jaxfs.mount()
    return jaxfs.mount_s, first_call(jaxfs)


def measure(jaxfs: Jaxfs, clients: Clients, fresh: FrontMemory, rounds: int) -> Lifecycle:
    """Measured after all calls; ``fresh`` is the front's memory before them.

    Raises CallFailed, MountFailed, RuntimeError.
    """
    mount_s = jaxfs.mount_s
    used = front_memory(jaxfs, "after all calls")
    jaxfs.write_sources("slow")
    stats = stat_while_compiling(jaxfs, clients)
    remounts = [remount(jaxfs) for _ in range(rounds)]
    return Lifecycle(
        mount_s,
        Spread.over([seconds for seconds, _ in remounts]),
        Spread.over([seconds for _, seconds in remounts]),
        (fresh, used),
        stats,
    )
