"""``python -c``: what a call costs where nothing stays running."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

from benchmarks.peers.base import Peer
from benchmarks.plan import MIB, SMALL, Cell, Client
from benchmarks.transports import Endpoint, Reply, Transport

CODE = """
import sys, jax, numpy as np
x = np.frombuffer(sys.stdin.buffer.read(), np.float32)
y = np.asarray(jax.jit(lambda x: 2.0 * x + 1.0)(x))
sys.stdout.buffer.write(y)
"""


class PythonC(Peer):
    """A process for each call."""

    name = "python-c"
    what = "python -c with jax, a process a call"

    def start(self) -> None:
        """Nothing runs between calls."""

    def endpoint(self, size_bytes: int) -> Endpoint:
        """Returns the command that is run for each call, whatever the message size."""
        return Command((sys.executable, "-c", CODE))

    def takes(self, cell: Cell) -> bool:
        """Returns whether one client calls from Python with the smallest or a 64 MiB message."""
        one_at_a_time = cell.client == Client.PYTHON and cell.clients == 1
        return one_at_a_time and cell.size_bytes in (SMALL, 64 * MIB)


@dataclass(frozen=True)
class Command:
    """A program that is started for each call: standard input in, standard output out."""

    argv: tuple[str, ...]
    echoes: bool = False

    def connect(self) -> Transport:
        """Returns a transport without a connection: each call starts a process."""
        return _CommandTransport(self.argv)


class _CommandTransport:
    def __init__(self, argv: tuple[str, ...]) -> None:
        self._argv = argv

    def call(self, request: bytes) -> Reply:
        return subprocess.run(self._argv, input=request, stdout=-1, check=True).stdout

    def close(self) -> None:
        """Nothing stays between calls."""
