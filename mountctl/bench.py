"""``mountctl bench``: measures in a few seconds what a call costs on a mount.

Two programs of its own, x + x on 16 floats and on 2^20 of them, are called through ``call.raw`` and
removed.  A call is a write and a read.  The floor is two requests to the same daemon that do
nothing: statvfs(3), which the kernel does not answer itself.  The difference is jaxfs and the
device.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import msgspec
from rich.table import Table

from mountctl import mounts
from mountctl.display import fixed_width
from mountctl.errors import NotAnswering

CLIENTS = 8
SMALL, LARGE = 16, 1 << 20  # floats
FLOAT_BYTES = 4
WIDTH = 100  # columns if the output is not a terminal
PROGRAM = """\
func.func public @main(%x: tensor<{n}xf32>) -> tensor<{n}xf32> {{
  %y = stablehlo.add %x, %x : tensor<{n}xf32>
  return %y : tensor<{n}xf32>
}}
"""


class BenchResult(msgspec.Struct, frozen=True):
    """What was measured; times in microseconds.

    Attributes:
        mountpoint: Absolute path.
        floor_p50_usec: Median of two requests that do nothing.
        call_p50_usec: Median of a small call of one client.
        call_p90_usec: Its 90th percentile.
        call_p99_usec: Its 99th percentile.
        calls_per_s: Small calls of one client.
        clients: How many clients there were together.
        clients_calls_per_s: Small calls of all of them.
        throughput_bytes_per_s: Of large calls, inputs and outputs.
    """

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
    """Measures a mount four times, for ``seconds`` each.

    Raises:
        NotMounted: if no jaxfs is mounted there.
        NotAnswering: if a call fails.
    """
    mounts.require_mounted(mountpoint)
    root = Path(mountpoint)
    try:
        with _program(root, SMALL) as small, _program(root, LARGE) as large:
            empty = _times(lambda: (os.statvfs(mountpoint), os.statvfs(mountpoint)), seconds)
            one = _call_times(small, SMALL, seconds)
            with ThreadPoolExecutor(CLIENTS) as pool:  # each client has a file of its own
                clients = [pool.submit(_call_times, small, SMALL, seconds) for _ in range(CLIENTS)]
                together = sum(len(client.result()) for client in clients)
            bulk = _call_times(large, LARGE, seconds)
    except OSError as error:
        raise NotAnswering(f"{mountpoint}: {error}") from None
    return BenchResult(
        mountpoint=mountpoint,
        floor_p50_usec=_quantile(empty, 50),
        call_p50_usec=_quantile(one, 50),
        call_p90_usec=_quantile(one, 90),
        call_p99_usec=_quantile(one, 99),
        calls_per_s=len(one) / sum(one),
        clients=CLIENTS,
        clients_calls_per_s=together / seconds,
        throughput_bytes_per_s=2 * LARGE * FLOAT_BYTES * len(bulk) / sum(bulk),
    )


@contextmanager
def _program(root: Path, floats: int) -> Iterator[Path]:
    """Adds a program and yields its ``call.raw``; removes the program in the end."""
    source = root / f"programs/mountctl_bench_{os.getpid()}_{floats}.mlir"
    try:
        source.write_text(PROGRAM.format(n=floats))
        yield source.with_suffix("") / "call.raw"
    finally:
        source.unlink(missing_ok=True)


def _call_times(file: Path, floats: int, seconds: float) -> list[float]:
    request = bytes(FLOAT_BYTES * floats)
    fd = os.open(file, os.O_RDWR)
    try:
        return _times(lambda: _call(fd, request), seconds)
    finally:
        os.close(fd)


def _call(fd: int, request: bytes) -> None:
    """Writes the inputs and reads outputs of the same size."""
    os.write(fd, request)
    missing = len(request)
    while missing:
        piece = os.read(fd, missing)
        if not piece:
            raise OSError("a reply was too short")
        missing -= len(piece)


def _times(act: Callable[[], object], seconds: float) -> list[float]:
    """Returns how long each act took, in seconds; the first one is not counted."""
    act()
    times: list[float] = []
    end = time.perf_counter() + seconds
    before = time.perf_counter()
    while before < end or not times:
        act()
        after = time.perf_counter()
        times.append(after - before)
        before = after
    return times


def _quantile(times_s: list[float], percent: int) -> float:
    ordered = sorted(times_s)
    return round(ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] * 1e6, 1)


def show(found: BenchResult) -> None:
    """Prints the figures, each on a line."""
    ratio = found.call_p50_usec / found.floor_p50_usec
    slow = f"{found.call_p90_usec:.0f} µs, {found.call_p99_usec:.0f} µs"
    table = Table.grid(padding=(0, 3, 0, 0))
    table.add_row("floor: two requests that do nothing", f"{found.floor_p50_usec:.0f} µs")
    table.add_row("a call (16 floats)", f"{found.call_p50_usec:.0f} µs, {ratio:.1f} x the floor")
    table.add_row("  90th, 99th percentile", slow)
    table.add_row("one client", f"{found.calls_per_s:,.0f} calls/s")
    table.add_row(f"{found.clients} clients", f"{found.clients_calls_per_s:,.0f} calls/s")
    table.add_row("large calls, in and out", f"{found.throughput_bytes_per_s / 1e6:,.0f} MB/s")
    fixed_width(WIDTH).print(table)
