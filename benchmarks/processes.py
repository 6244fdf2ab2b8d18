"""Starts the peers' servers, and ends them whatever happens."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
READY_S = 60.0
END_S = 10.0


class NotReady(Exception):
    """A server ended, or stayed silent, before it announced that it answers."""


@dataclass(frozen=True)
class Server:
    """A server that answers: its process, and the line that it printed when it was ready."""

    pid: int
    ready_line: str


def environment(root: Path = ROOT) -> Mapping[str, str]:
    """Every peer computes on the CPU and imports this tree, or another checkout of it."""
    path = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu"}


def run_module(module: str, *arguments: str, timeout_s: float = READY_S) -> None:
    """Runs ``python -m module`` to its end.  Raises CalledProcessError, TimeoutExpired."""
    command = [sys.executable, "-m", module, *arguments]
    subprocess.run(command, env=environment(), check=True, timeout=timeout_s)


@contextmanager
def server(*command: str) -> Iterator[Server]:
    """A process for as long as the block runs.  Raises NotReady."""
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)
    try:
        yield Server(process.pid, _first_line(process))
    finally:
        end(process)


def _first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], READY_S)
    line = process.stdout.readline() if readable else ""
    if not line:
        raise NotReady(f"{process.args!r} did not become ready; its messages are above")
    return line.strip()


def end(process: subprocess.Popen[str]) -> None:
    """Sends SIGTERM, after a while SIGKILL; returns when the process has ended."""
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def end_pid(pid: int) -> None:
    """The same for a process that is no child of ours; nothing if it has ended."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            signal.pidfd_send_signal(fd, number)
            ended, _, _ = select.select([fd], [], [], END_S)
            if ended:
                return
    except ProcessLookupError:
        return
    finally:
        os.close(fd)
