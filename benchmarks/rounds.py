"""Figures over the rounds of a run, and comparisons of two ways that take turns.

A drift of the machine hits all that take turns alike; the fastest round is the one that others
disturbed least.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Self


@dataclass(frozen=True)
class Spread:
    """One figure, smaller is better, that each round measured once.

    Attributes:
        fastest: of the best round.
        median: of the median round.
        slowest: of the worst round.
    """

    fastest: float
    median: float
    slowest: float

    @classmethod
    def over(cls, rounds: Sequence[float]) -> Self:
        """The spread of what the rounds measured; at least one."""
        return cls(min(rounds), statistics.median(rounds), max(rounds))

    @property
    def factor(self) -> float:
        """The worst round over the best one: 1 on a machine that nothing disturbs."""
        return self.slowest / self.fastest if self.fastest else 1.0


def quantile(values: Sequence[float], q: float) -> float:
    """The smallest value that at least the fraction ``q`` of all does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


@dataclass(frozen=True)
class Comparison:
    """Two ways to the same result, measured in turns.

    Attributes:
        what: the two, in words.
        ours_s: median seconds of a turn of the first way, in each round.
        other_s: the same of the second way.
        ratios: first over second within each round.
    """

    what: str
    ours_s: Spread
    other_s: Spread
    ratios: Spread

    @classmethod
    def of(cls, what: str, ours_s: Sequence[float], other_s: Sequence[float]) -> Self:
        """The comparison of what the rounds measured of both; pairs belong together."""
        ratios = [ours / other for ours, other in zip(ours_s, other_s, strict=True)]
        return cls(what, Spread.over(ours_s), Spread.over(other_s), Spread.over(ratios))

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios: a round that something disturbed does not count."""
        return self.ratios.median


def compare(
    what: str,
    ours: Callable[[], object],
    other: Callable[[], object],
    *,
    rounds: int,
    turns: int,
) -> Comparison:
    """Measures two ways that are warm already.  Each goes first in every other turn."""
    found = [_round(ours, other, turns) for _ in range(rounds)]
    return Comparison.of(what, [pair[0] for pair in found], [pair[1] for pair in found])


def _round(
    ours: Callable[[], object], other: Callable[[], object], turns: int
) -> tuple[float, float]:
    seconds: tuple[list[float], list[float]] = ([], [])
    ways = (ours, other)
    for turn in range(turns):
        for way in (turn % 2, 1 - turn % 2):
            before = perf_counter()
            ways[way]()
            seconds[way].append(perf_counter() - before)
    return statistics.median(seconds[0]), statistics.median(seconds[1])
