"""How many calls and how long they took: counters, quantiles and histograms."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque

import attrs

QUICK_USEC = 100  # waiting for so short a run is cheaper than an event loop's turn
KEEP = 256  # the quantiles are of this many last calls
QUANTILES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))
BOUNDS_USEC = tuple(  # 50 us to 500 s, three per decade
    step * 10**power for power in range(8) for step in (10, 25, 50)
)[2:]


@attrs.define
class Histogram:
    """Times by size.

    Attributes:
        counts: ``counts[n]`` is the number of times up to ``BOUNDS_USEC[n]`` and over the bound
            before; the last one is that of all longer times.
        sum_usec: all times together.
    """

    counts: list[int] = attrs.field(factory=lambda: [0] * (len(BOUNDS_USEC) + 1))
    sum_usec: int = 0

    def add(self, usec: int) -> None:
        """Counts one time."""
        self.counts[bisect_left(BOUNDS_USEC, usec)] += 1
        self.sum_usec += usec


@attrs.define
class Stats:
    """Figures of a program's calls.

    Attributes:
        calls: how many have ended.
        errors: how many of them failed.
        total_usec: from submission to the end, all calls together.
        run_usec: in the engine, all calls together.

    >>> stats = Stats()
    >>> stats.add(failed=False, total_usec=150, run_usec=40)
    >>> stats.is_quick, stats.rows()[2]
    (True, ('total_p50_usec', 150))
    """

    calls: int = 0
    errors: int = 0
    total_usec: int = 0
    run_usec: int = 0
    _total: deque[int] = attrs.field(factory=lambda: deque(maxlen=KEEP))
    _run: deque[int] = attrs.field(factory=lambda: deque(maxlen=KEEP))

    @property
    def is_quick(self) -> bool:
        """Whether the last run took less than ``QUICK_USEC``."""
        return bool(self._run) and self._run[-1] < QUICK_USEC

    def add(self, *, failed: bool, total_usec: int, run_usec: int) -> None:
        """Counts one call that has ended."""
        self.calls += 1
        self.errors += failed
        self.total_usec += total_usec
        self.run_usec += run_usec
        self._total.append(total_usec)
        self._run.append(run_usec)

    def rows(self) -> list[tuple[str, int]]:
        """Returns the keys and values of the ``stats`` file."""
        rows = [("calls", self.calls), ("errors", self.errors)]
        for name, values in (("total", self._total), ("run", self._run)):
            ordered = sorted(values) or [0]
            for label, quantile in QUANTILES:
                value = ordered[min(len(ordered) - 1, int(quantile * len(ordered)))]
                rows.append((f"{name}_{label}_usec", value))
        return rows
