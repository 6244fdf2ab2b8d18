"""What every peer is: something that is started, connected to, and stopped."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import perf_counter
from typing import Self

from benchmarks.plan import Cell, Client
from benchmarks.transports import Endpoint, OpenFile


class Peer(ABC):
    """One way to call the program.

    Attributes:
        name: in tables and on the command line.
        what: a line for the report.
        workdir: an empty directory of its own, once it is started.
        sizes: the message sizes it will be asked for, once it is started.
        start_s: seconds from nothing to ready.
        resources: ended when the peer is stopped.
    """

    name: str
    what: str
    workdir: Path
    sizes: tuple[int, ...]
    start_s = 0.0

    def __init__(self) -> None:
        self.resources = ExitStack()

    @abstractmethod
    def start(self) -> None:
        """Starts it, puts what must end into ``resources``, returns when it answers."""

    @abstractmethod
    def endpoint(self, size_bytes: int) -> Endpoint:
        """Where clients connect for messages of this size."""

    def server_processes(self) -> Mapping[str, int]:
        """The processes that answer calls, by name: their counters are in the report."""
        return {}

    def takes(self, cell: Cell) -> bool:
        """Whether the row makes sense for this peer: the C client calls files only."""
        return cell.client == Client.PYTHON or isinstance(self.endpoint(cell.size_bytes), OpenFile)

    @contextmanager
    def running(self, workdir: Path, sizes: tuple[int, ...]) -> Iterator[Self]:
        """Started inside the block, stopped after it, whatever happens."""
        self.workdir, self.sizes = workdir, sizes
        with self.resources:
            before = perf_counter()
            self.start()
            self.start_s = perf_counter() - before
            yield self
