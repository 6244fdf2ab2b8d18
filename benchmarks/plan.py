"""What is measured: sections, and for calls the rows of each section."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

MIB = 1 << 20
SMALL = 64  # bytes: 16 floats
TICK_US = 1000  # of the paced client


class Section(StrEnum):
    """A part of a run that can be measured alone."""

    SMALL_CALL = "small-call"
    LARGE_CALL = "large-call"
    MOUNT = "mount"
    TRANSFORMED = "transformed"
    ARRAYS = "arrays"
    IMPORTS = "imports"


class Client(StrEnum):
    """The program that calls."""

    PYTHON = "Python"
    C = "C"
    PACED = "C, paced"  # a call per ms; sleeps until the next tick, as most callers do


@dataclass(frozen=True)
class Cell:
    """One row: ``clients`` connections, each repeating a call of ``size_bytes`` in and out.

    Attributes:
        size_bytes: of the inputs, and of the outputs.
        clients: connections at once.
        rounds: times that each peer has its turn.
        seconds: of a round, which has at least ``min_calls`` calls of each connection.
        client: the program that calls.
    """

    size_bytes: int
    clients: int
    rounds: int
    seconds: float
    min_calls: int = 2
    client: Client = Client.PYTHON

    @property
    def section(self) -> Section:
        """The section that the row belongs to."""
        return Section.SMALL_CALL if self.size_bytes == SMALL else Section.LARGE_CALL

    @property
    def interval_us(self) -> int:
        """Microseconds from the begin of a call to the next one's; 0: no pause."""
        return TICK_US if self.client == Client.PACED else 0

    @property
    def memory_bytes(self) -> int:
        """About what the hungriest peer holds at once: parts, whole and reply at both ends."""
        return 6 * self.size_bytes * self.clients

    @property
    def words(self) -> str:
        """The row in the words of messages."""
        return f"{self.size_bytes} bytes, {self.clients} clients ({self.client})"


@dataclass(frozen=True)
class Plan:
    """The rows, the rounds of a comparison of two ways, and the sections that are measured."""

    cells: tuple[Cell, ...]
    rounds: int
    sections: frozenset[Section] = frozenset(Section)

    def limited(self, sections: frozenset[Section]) -> Plan:
        """The plan for some sections only."""
        cells = tuple(cell for cell in self.cells if cell.section in sections)
        return replace(self, cells=cells, sections=sections)


FULL = Plan(
    (
        Cell(SMALL, 1, rounds=15, seconds=0.2, client=Client.C),
        Cell(SMALL, 8, rounds=5, seconds=0.4, client=Client.C),
        Cell(SMALL, 1, rounds=9, seconds=0.4, client=Client.PACED),
        Cell(SMALL, 1, rounds=15, seconds=0.2),
        Cell(SMALL, 8, rounds=5, seconds=0.4),
        Cell(SMALL, 64, rounds=5, seconds=0.6),
        Cell(1 * MIB, 1, rounds=5, seconds=0.3),
        Cell(1 * MIB, 8, rounds=3, seconds=0.4),
        Cell(1 * MIB, 64, rounds=3, seconds=0.6),
        Cell(16 * MIB, 1, rounds=5, seconds=0.3),
        Cell(16 * MIB, 8, rounds=3, seconds=0.6),
        Cell(64 * MIB, 1, rounds=5, seconds=0.6),
        Cell(64 * MIB, 8, rounds=2, seconds=0.6, min_calls=1),
        Cell(256 * MIB, 1, rounds=3, seconds=0.6, min_calls=1),
    ),
    rounds=9,
)

QUICK = Plan(
    (
        Cell(SMALL, 1, rounds=11, seconds=0.15, client=Client.C),
        Cell(SMALL, 1, rounds=5, seconds=0.3, client=Client.PACED),
        Cell(SMALL, 1, rounds=7, seconds=0.15),
        Cell(SMALL, 8, rounds=3, seconds=0.2),
        Cell(1 * MIB, 8, rounds=2, seconds=0.3),
        Cell(64 * MIB, 1, rounds=3, seconds=0.4),
    ),
    rounds=3,
)


def sizes(cells: tuple[Cell, ...]) -> tuple[int, ...]:
    """The message sizes, each once, in bytes.  Never empty: the small program is always there."""
    return tuple(dict.fromkeys((SMALL, *(cell.size_bytes for cell in cells))))
