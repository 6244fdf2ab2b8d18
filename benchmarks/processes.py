"""Starting the peers' servers, and ending them whatever happens."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
READY_S = 60.0
END_S = 10.0


class NotReady(Exception):
    """A server ended, or stayed silent, before it said where it answers."""


def environment() -> Mapping[str, str]:
    """Every peer computes on the CPU and imports this tree."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu"}


def run_module(module: str, *arguments: str, timeout_s: float = READY_S) -> None:
    """Run ``python -m module`` to its end.  Raises CalledProcessError, TimeoutExpired."""
    command = [sys.executable, "-m", module, *arguments]
    subprocess.run(command, env=environment(), check=True, timeout=timeout_s)


@contextmanager
def server(module: str, *arguments: str) -> Iterator[str]:
    """``python -m module`` for as long as the block runs; gives the line it said when ready."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield _first_line(process, module)
    finally:
        end(process)


def _first_line(process: subprocess.Popen[str], module: str) -> str:
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], READY_S)
    line = process.stdout.readline() if readable else ""
    if not line:
        raise NotReady(f"{module} did not become ready; its words are above")
    return line.strip()


def end(process: subprocess.Popen[str]) -> None:
    """Ask, then insist; returns when it is gone."""
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
