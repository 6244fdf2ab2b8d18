"""Two ways to the same, in turns: what a drift of the machine does, it does to both."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter


@dataclass(frozen=True)
class Comparison:
    """Median seconds of one way and of the other; and the ratio within each round."""

    what: str
    ours_s: float
    other_s: float
    round_ratios: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios: a round that something disturbed does not count."""
        return statistics.median(self.round_ratios)


def compare(
    what: str,
    ours: Callable[[], object],
    other: Callable[[], object],
    *,
    rounds: int,
    turns: int,
) -> Comparison:
    """Both are warm already.  Each goes first in every other turn."""
    found = [_round(ours, other, turns) for _ in range(rounds)]
    ours_s, other_s = ([seconds for both in found for seconds in both[way]] for way in (0, 1))
    ratios = tuple(statistics.median(a) / statistics.median(b) for a, b in found)
    return Comparison(what, statistics.median(ours_s), statistics.median(other_s), ratios)


def _round(
    ours: Callable[[], object], other: Callable[[], object], turns: int
) -> tuple[list[float], list[float]]:
    found: tuple[list[float], list[float]] = ([], [])
    ways = (ours, other)
    for turn in range(turns):
        for way in (turn % 2, 1 - turn % 2):
            before = perf_counter()
            ways[way]()
            found[way].append(perf_counter() - before)
    return found
