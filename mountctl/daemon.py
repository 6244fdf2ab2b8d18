"""Starting the daemon, hearing from it, and putting it down.

The daemon is ``python -m jaxfs '<json>'``: everything it needs to know is in that document.  On
``ready_fd`` it says in one JSON line that it serves, or why it cannot; end of file without a line
means that it died.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import attrs
import msgspec

from jaxfs.options import Options
from mountctl.errors import DaemonFailed, StartTimedOut, from_exit_code
from mountctl.signals import StopRequest, handle_stop_signals

TERM_S = 10.0  # the daemon ends its own children first
TAIL_LINES = 20


class ReadyMessage(msgspec.Struct, frozen=True):
    """The daemon's line: ready, or an error in one line with its story."""

    ready: bool = False
    pid: int = 0
    engine: str = ""
    seconds: float = 0.0
    error: str = ""
    diagnostics: str = ""
    exit_code: int = 1


@attrs.define
class DaemonProcess:
    """A started daemon; ``log`` is None where it writes to our stderr."""

    process: subprocess.Popen[bytes]
    ready_fd: int
    log: Path | None
    log_start: int

    def await_ready(self, timeout_s: float, stop: StopRequest) -> ReadyMessage:
        """Raises DaemonFailed, StartTimedOut, Interrupted, or the error the daemon tells."""
        line = _read_line(self.ready_fd, time.monotonic() + timeout_s, stop)
        if line is None:
            raise StartTimedOut(
                f"the daemon was not ready after {timeout_s:g} s (--timeout){self._tail()}"
            )
        if not line.endswith(b"\n"):
            raise DaemonFailed(f"the daemon {self._fate()} before it was ready{self._tail()}")
        verdict = msgspec.json.decode(line, type=ReadyMessage)
        if not verdict.ready:
            story = f"\n{verdict.diagnostics.rstrip()}" if verdict.diagnostics else ""
            raise from_exit_code(verdict.exit_code, verdict.error + story)
        return verdict

    def _fate(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = self.process.wait(TERM_S)
            return f"was killed by signal {-status}" if status < 0 else f"ended with code {status}"
        return "closed its line to us"

    def _tail(self) -> str:
        """What it wrote to its log since it was started."""
        if self.log is None:
            return ""
        with self.log.open(errors="replace") as file:
            file.seek(self.log_start)
            lines = file.read().splitlines()[-TAIL_LINES:]
        return "; its log ends with:\n" + "\n".join(f"  {line}" for line in lines) if lines else ""

    def run_until_ended(self, stop: StopRequest) -> int:
        """Stay in front of it: what would end us ends it, and it unmounts.  Its exit code."""
        with handle_stop_signals(lambda name: self.process.terminate()):
            stop.check()  # for one that came before
            status = self.process.wait()
        return status if status >= 0 else 128 - status

    def terminate(self) -> None:
        """End it, politely first; its children end with it."""
        self.process.terminate()
        try:
            self.process.wait(TERM_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _read_line(fd: int, deadline: float, stop: StopRequest) -> bytes | None:
    """Up to a newline or end of file; None where neither came in time."""
    data = b""
    while not data.endswith(b"\n"):
        left_s = max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select([fd, stop.fd], [], [], left_s)
        stop.check()
        if not ready:
            return None
        piece = os.read(fd, 1 << 16)
        if not piece:
            break
        data += piece
    return data


def start(
    mountpoint: str, state_dir: Path, options: Options, log: Path | None, session_fd: int = -1
) -> DaemonProcess:
    """Start it in a session of its own, or without ``log`` in this terminal."""
    reader, writer = os.pipe()
    document = {
        "mountpoint": mountpoint,
        "state_dir": str(state_dir),
        "options": options,
        "ready_fd": writer,
        "session_fd": session_fd,
    }
    try:
        with _opened(log) as output:
            log_start = output.tell() if output else 0
            fds = [fd for fd in (writer, session_fd) if fd >= 0]
            process = _spawn(msgspec.json.encode(document).decode(), fds, output)
    except BaseException:
        os.close(reader)
        raise
    finally:
        os.close(writer)
    return DaemonProcess(process, reader, log, log_start)


def _opened(log: Path | None) -> contextlib.AbstractContextManager[IO[bytes] | None]:
    return contextlib.nullcontext() if log is None else log.open("ab")


def _spawn(document: str, fds: list[int], output: IO[bytes] | None) -> subprocess.Popen[bytes]:
    """``-P`` keeps the working directory, which is the root, off the module path."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "jaxfs", document],
        stdin=subprocess.DEVNULL,
        stdout=output or sys.stderr.fileno(),
        stderr=output or sys.stderr.fileno(),
        cwd="/",
        pass_fds=fds,
        start_new_session=output is not None,
    )
