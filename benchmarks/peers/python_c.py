"""``python -c``: what a call costs where nothing stays running."""

from __future__ import annotations

import sys

from benchmarks.peers.base import Peer
from benchmarks.plan import MIB, SMALL, Cell
from benchmarks.transports import Command, Endpoint

CODE = """
import sys, jax, numpy as np
x = np.frombuffer(sys.stdin.buffer.read(), np.float32)
y = np.asarray(jax.jit(lambda x: 2.0 * x + 1.0)(x))
sys.stdout.buffer.write(y)
"""


class PythonC(Peer):
    name = "python-c"
    what = "python -c with jax, a process a call"

    def start(self) -> None:
        """Nothing runs between calls."""

    def endpoint(self, size_bytes: int) -> Endpoint:
        return Command((sys.executable, "-c", CODE))

    def takes(self, cell: Cell) -> bool:
        return cell.clients == 1 and cell.size_bytes in (SMALL, 64 * MIB)
