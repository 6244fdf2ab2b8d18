"""``mountctl bench``: what a call costs on this mount, in a few seconds.

Two programs of its own, x + x on 16 floats and on a megabyte of them, are asked through
``call.raw`` and removed.  A call is a write and a read; the floor is two requests to the same
daemon that do nothing (statvfs(3), which the kernel does not answer itself), so what lies between
is jaxfs and the device.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from mountctl import mounts
from mountctl.errors import NotAnswering, NotMounted

CLIENTS = 8
SMALL, LARGE = 16, 1 << 20  # floats
FLOAT_BYTES = 4
PROGRAM = """\
func.func public @main(%x: tensor<{n}xf32>) -> tensor<{n}xf32> {{
  %y = stablehlo.add %x, %x : tensor<{n}xf32>
  return %y : tensor<{n}xf32>
}}
"""


class BenchResult(msgspec.Struct, frozen=True):
    """Times in microseconds; ``floor`` is that of two empty requests."""

    mountpoint: str
    floor_p50_usec: float
    call_p50_usec: float
    call_p90_usec: float
    call_p99_usec: float
    calls_per_s: float
    clients: int
    clients_calls_per_s: float
    throughput_bytes_per_s: float


def measure(mountpoint: str, seconds: float) -> BenchResult:
    """Four figures of ``seconds`` each.  Raises NotMounted, NotAnswering."""
    if not mounts.is_mounted(mountpoint):
        raise NotMounted(f"no jaxfs is mounted on {mountpoint}; mountctl status lists the mounts")
    try:
        return _measure(mountpoint, seconds)
    except OSError as error:
        raise NotAnswering(f"{mountpoint}: {error}") from None


def _measure(mountpoint: str, seconds: float) -> BenchResult:
    root = Path(mountpoint)
    with _program(root, SMALL) as small, _program(root, LARGE) as large:
        empty = _times(lambda: (os.statvfs(mountpoint), os.statvfs(mountpoint)), seconds)
        one = _calls(small, SMALL, seconds)
        many = _together(small, seconds)
        bulk = _calls(large, LARGE, seconds)
    return BenchResult(
        mountpoint=mountpoint,
        floor_p50_usec=_quantile(empty, 50),
        call_p50_usec=_quantile(one, 50),
        call_p90_usec=_quantile(one, 90),
        call_p99_usec=_quantile(one, 99),
        calls_per_s=len(one) / sum(one),
        clients=CLIENTS,
        clients_calls_per_s=many / seconds,
        throughput_bytes_per_s=2 * LARGE * FLOAT_BYTES * len(bulk) / sum(bulk),
    )


@contextmanager
def _program(root: Path, floats: int) -> Iterator[Path]:
    """The ``call.raw`` of a program of our own."""
    source = root / f"programs/mountctl_bench_{os.getpid()}_{floats}.mlir"
    try:
        source.write_text(PROGRAM.format(n=floats))
        yield source.with_suffix("") / "call.raw"
    finally:
        source.unlink(missing_ok=True)


def _calls(call: Path, floats: int, seconds: float) -> list[float]:
    request = bytes(FLOAT_BYTES * floats)
    fd = os.open(call, os.O_RDWR)
    try:
        return _times(lambda: _ask(fd, request), seconds)
    finally:
        os.close(fd)


def _ask(fd: int, request: bytes) -> None:
    os.write(fd, request)
    missing = len(request)
    while missing:
        piece = os.read(fd, missing)
        if not piece:
            raise OSError("a reply was too short")
        missing -= len(piece)


def _times(act: Callable[[], object], seconds: float) -> list[float]:
    """How long each took, in seconds, after one that is not counted."""
    act()
    took: list[float] = []
    end = time.perf_counter() + seconds
    before = time.perf_counter()
    while before < end or not took:
        act()
        after = time.perf_counter()
        took.append(after - before)
        before = after
    return took


def _together(call: Path, seconds: float) -> int:
    """How many calls several clients make, each with a file of its own."""
    counts: list[int] = []

    def client() -> None:
        counts.append(len(_calls(call, SMALL, seconds)))

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts)


def _quantile(took_s: list[float], percent: int) -> float:
    ordered = sorted(took_s)
    return round(ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] * 1e6, 1)


def as_json(found: BenchResult) -> str:
    return msgspec.json.format(msgspec.json.encode(found), indent=2).decode()


def show(found: BenchResult) -> None:
    """A line each."""
    table = Table.grid(padding=(0, 3, 0, 0))
    ratio = found.call_p50_usec / found.floor_p50_usec
    table.add_row("floor: two requests that do nothing", f"{found.floor_p50_usec:.0f} µs")
    table.add_row("a call (16 floats)", f"{found.call_p50_usec:.0f} µs, {ratio:.1f} x the floor")
    table.add_row("  of ten, of a hundred the longest", _longest(found))
    table.add_row("one client", f"{found.calls_per_s:,.0f} calls/s")
    table.add_row(f"{found.clients} clients", f"{found.clients_calls_per_s:,.0f} calls/s")
    table.add_row("large calls, in and out", f"{found.throughput_bytes_per_s / 1e6:,.0f} MB/s")
    Console(width=None if Console().is_terminal else 100).print(table)


def _longest(found: BenchResult) -> str:
    return f"{found.call_p90_usec:.0f} µs, {found.call_p99_usec:.0f} µs"
