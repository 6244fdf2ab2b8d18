"""The C client: what a call costs where the caller is no interpreter.

``client.c`` opens the file and calls; here it is compiled, started for a round, and read.
"""

from __future__ import annotations

import subprocess
from array import array
from collections.abc import Mapping
from pathlib import Path
from threading import Timer
from typing import IO

from benchmarks.c_compiler import compile_c
from benchmarks.clients.samples import CallFailed, Sample
from benchmarks.plan import Cell
from benchmarks.process_counters import Counters, metered
from benchmarks.transports import OpenFile

SOURCE = Path(__file__).with_name("client.c")
LIMIT_S = 120.0  # no round lasts that long
_HEAD = 3  # numbers before the latencies


class CClient:
    """The compiled client."""

    def __init__(self, directory: Path) -> None:
        """Compiles it into a directory.  Raises CannotCompile."""
        self._program = directory / "client"
        compile_c(SOURCE, self._program)

    def round(self, endpoint: OpenFile, cell: Cell, servers: Mapping[str, int]) -> Sample:
        """One round of a row.

        Args:
            endpoint: the file to call.
            cell: the row.
            servers: the processes that answer, whose counters are wanted, by name.

        Raises:
            CallFailed: if a call fails or gives another reply.
        """
        with subprocess.Popen(
            self._command(endpoint, cell),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            watchdog = Timer(LIMIT_S, process.kill)
            watchdog.start()
            try:
                return _measured(process, servers)
            finally:
                watchdog.cancel()
                process.kill()

    def _command(self, endpoint: OpenFile, cell: Cell) -> list[str]:
        return [
            str(self._program),
            endpoint.path,
            str(endpoint.size_bytes),
            str(cell.clients),
            str(cell.seconds),
            str(cell.min_calls),
            str(cell.interval_us),
            "echo" if endpoint.echoes else "affine",
        ]


def _measured(process: subprocess.Popen[bytes], servers: Mapping[str, int]) -> Sample:
    assert process.stdin is not None
    assert process.stdout is not None
    _expect(process, b"ready\n")
    with metered({"client": process.pid, **servers}) as counters:
        _send_line(process.stdin)
        _expect(process, b"done\n")
    _send_line(process.stdin)
    return _sample(process.stdout.read(), counters)


def _send_line(pipe: IO[bytes]) -> None:
    pipe.write(b"\n")
    pipe.flush()


def _expect(process: subprocess.Popen[bytes], line: bytes) -> None:
    """Raises CallFailed with the client's message, if another line comes."""
    assert process.stdout is not None
    if process.stdout.readline() != line:
        assert process.stderr is not None
        raise CallFailed(f"C client: {process.stderr.read().decode().strip() or 'it ended'}")


def _sample(output: bytes, counters: Mapping[str, Counters]) -> Sample:
    numbers = array("q", output[: len(output) // 8 * 8])
    if len(numbers) <= _HEAD or len(numbers) != _HEAD + numbers[2]:
        raise CallFailed(f"C client: it ended after {len(output)} bytes of latencies")
    return Sample(numbers[0], numbers[1], numbers[_HEAD:], counters)
