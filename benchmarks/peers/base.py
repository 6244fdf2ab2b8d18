"""What every peer is: something that is started, connected to, and stopped."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import ClassVar, Self

from benchmarks.plan import Cell
from benchmarks.transports import Endpoint


class Peer(ABC):
    """A context manager: started inside, stopped after, whatever happens.

    ``workdir`` is its own empty directory; ``sizes`` are the message sizes it will be asked for.
    """

    name: ClassVar[str]
    what: ClassVar[str]  # a line for the report

    def __init__(self, workdir: Path, sizes: tuple[int, ...]) -> None:
        self.workdir = workdir
        self.sizes = sizes
        self.start_s = 0.0  # from nothing to ready
        self.resources = ExitStack()

    @abstractmethod
    def start(self) -> None:
        """Start it, put what must end into ``resources``, return when it answers."""

    @abstractmethod
    def endpoint(self, size_bytes: int) -> Endpoint:
        """Where clients connect for messages of this size."""

    def takes(self, cell: Cell) -> bool:
        """Whether the cell makes sense for this peer."""
        return True

    def __enter__(self) -> Self:
        before = perf_counter()
        try:
            self.start()
        except BaseException:
            self.resources.close()
            raise
        self.start_s = perf_counter() - before
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.resources.close()
