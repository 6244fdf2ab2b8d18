"""Starts the daemon, waits for its ready message, and terminates it.

The daemon is ``python -m jaxfs '<json>'``; the document has everything that it needs to know.  It
writes one JSON line on ``ready_fd`` when it serves the mount, or when it cannot; end of file
without a line means that it died.
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
from mountctl.errors import BY_EXIT_CODE, DaemonFailed, StartTimedOut
from mountctl.signals import StopRequest, handle_stop_signals

TERM_S = 10.0  # the daemon ends its own children first
TAIL_LINES = 20


class ReadyMessage(msgspec.Struct, frozen=True):
    """The daemon's line on ``ready_fd``.

    Attributes:
        ready: Whether the mount answers and the engine is up; if not, ``error`` is set.
        pid: The daemon's process id.
        engine: Versions and devices, for people.
        seconds: How long the start took.
        error: Why it could not start, in one line.
        diagnostics: More lines about the error.
        exit_code: The error's kind, as in ``mountctl.errors``.
    """

    ready: bool = False
    pid: int = 0
    engine: str = ""
    seconds: float = 0.0
    error: str = ""
    diagnostics: str = ""
    exit_code: int = 1


@attrs.define
class DaemonProcess:
    """A daemon that this command started.

    Attributes:
        process: The child process.
        ready_fd: Where its ready message arrives.
        log: Its log; None if it writes to this command's stderr.
        log_start: The size of the log before the start, in bytes.
    """

    process: subprocess.Popen[bytes]
    ready_fd: int
    log: Path | None
    log_start: int

    def await_ready(self, timeout_s: float, stop: StopRequest) -> ReadyMessage:
        """Waits until the mount can be used.

        Raises:
            StartTimedOut: if there is no message in time.
            DaemonFailed: if the daemon died.
            Interrupted: if a signal arrived meanwhile.
            MountctlError: of the kind that the daemon's message has.
        """
        line = _read_line(self.ready_fd, time.monotonic() + timeout_s, stop)
        if line is None:
            raise StartTimedOut(
                f"the daemon was not ready after {timeout_s:g} s (--timeout){self._log_tail()}"
            )
        if not line.endswith(b"\n"):
            end = "closed its pipe to this command"
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self.process.wait(TERM_S)
                end = (
                    f"was killed by signal {-status}" if status < 0 else f"ended with code {status}"
                )
            raise DaemonFailed(f"the daemon {end} before it was ready{self._log_tail()}")
        message = msgspec.json.decode(line, type=ReadyMessage)
        if not message.ready:
            details = f"\n{message.diagnostics.rstrip()}" if message.diagnostics else ""
            kind = BY_EXIT_CODE.get(message.exit_code, DaemonFailed)
            raise kind(message.error + details)
        return message

    def _log_tail(self) -> str:
        """Returns the last lines of its log since the start, to be appended to an error."""
        if self.log is None:
            return ""
        with self.log.open(errors="replace") as file:
            file.seek(self.log_start)
            lines = file.read().splitlines()[-TAIL_LINES:]
        return "; its log ends with:\n" + "\n".join(f"  {line}" for line in lines) if lines else ""

    def run_until_ended(self, stop: StopRequest) -> int:
        """Waits in the foreground; a signal to this command ends the daemon, which unmounts.

        Returns:
            The daemon's exit code, as a shell shows it.
        """
        with handle_stop_signals(lambda _name: self.process.terminate()):
            stop.check()  # a signal that arrived before
            status = self.process.wait()
        return status if status >= 0 else 128 - status

    def terminate(self) -> None:
        """Sends SIGTERM, and after ``TERM_S`` SIGKILL; its children end with it."""
        self.process.terminate()
        try:
            self.process.wait(TERM_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _read_line(fd: int, deadline: float, stop: StopRequest) -> bytes | None:
    """Returns what arrives up to a newline or end of file; None after the deadline."""
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
    """Starts a daemon.

    Args:
        mountpoint: Absolute path.
        state_dir: Absolute path of a directory that exists.
        options: The mount options.
        log: Gets the daemon's output, and the daemon moves to a session of its own when its mount
            answers; with None it stays in this terminal.
        session_fd: A FUSE session that is mounted already, or -1.

    Raises:
        OSError: if the log cannot be written.
    """
    reader, writer = os.pipe()
    document = {
        "mountpoint": mountpoint,
        "state_dir": str(state_dir),
        "options": options,
        "ready_fd": writer,
        "session_fd": session_fd,
        "new_session": log is not None,
    }
    try:
        with log.open("ab") if log is not None else contextlib.nullcontext() as output:
            log_start = output.tell() if output else 0
            fds = [fd for fd in (writer, session_fd) if fd >= 0]
            process = _spawn(msgspec.json.encode(document).decode(), fds, output)
    except BaseException:
        os.close(reader)
        raise
    finally:
        os.close(writer)
    return DaemonProcess(process, reader, log, log_start)


def _spawn(document: str, fds: list[int], output: IO[bytes] | None) -> subprocess.Popen[bytes]:
    """``-P`` keeps the working directory, which is the root, off the module path."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "jaxfs", document],
        stdin=subprocess.DEVNULL,
        stdout=output or sys.stderr.fileno(),
        stderr=output or sys.stderr.fileno(),
        cwd="/",
        pass_fds=fds,
    )
