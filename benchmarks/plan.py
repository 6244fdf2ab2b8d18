"""What is measured: for peers, each row is a message size with a number of clients."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20
SMALL = 64  # bytes: 16 floats


@dataclass(frozen=True)
class Cell:
    """``clients`` connections, each repeating a call of ``size_bytes`` in and out.

    A round is ``seconds`` long, but at least ``min_calls`` calls a client.
    """

    size_bytes: int
    clients: int
    rounds: int
    seconds: float
    min_calls: int = 2

    @property
    def memory_bytes(self) -> int:
        """About what the hungriest peer holds at once: parts, whole and reply at both ends."""
        return 6 * self.size_bytes * self.clients


@dataclass(frozen=True)
class Plan:
    """The cells, and how many rounds a comparison of two ways has."""

    cells: tuple[Cell, ...]
    rounds: int


_FULL_CELLS = (
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
)

_QUICK_CELLS = (
    Cell(SMALL, 1, rounds=7, seconds=0.2),
    Cell(SMALL, 8, rounds=2, seconds=0.3),
    Cell(1 * MIB, 8, rounds=2, seconds=0.3),
    Cell(64 * MIB, 1, rounds=3, seconds=0.4),
)


FULL = Plan(_FULL_CELLS, rounds=9)
QUICK = Plan(_QUICK_CELLS, rounds=3)


def sizes(cells: tuple[Cell, ...]) -> tuple[int, ...]:
    """The message sizes, each once, in bytes."""
    return tuple(dict.fromkeys(cell.size_bytes for cell in cells))
