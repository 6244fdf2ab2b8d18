"""How often and how long: counters, quantiles and histograms of calls."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque

import attrs

QUICK_USEC = 100  # a run so short is cheaper to wait for than to come back to
KEEP = 1024  # the quantiles are of this many last calls
QUANTILES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))
BOUNDS_USEC = tuple(  # 50 us to 500 s, three a decade
    step * 10**power for power in range(8) for step in (10, 25, 50)
)[2:]


@attrs.define
class Histogram:
    """Times by size: ``counts[n]`` are those up to ``BOUNDS_USEC[n]``, the last one all longer."""

    counts: list[int] = attrs.field(factory=lambda: [0] * (len(BOUNDS_USEC) + 1))
    sum_usec: int = 0

    def add(self, usec: int) -> None:
        """Count one time."""
        self.counts[bisect_left(BOUNDS_USEC, usec)] += 1
        self.sum_usec += usec


@attrs.define
class Stats:
    """Times are in microseconds: ``total`` from submission to the end, ``run`` in the engine."""

    calls: int = 0
    errors: int = 0
    total_usec: int = 0  # of all calls together
    run_usec: int = 0
    _total: deque[int] = attrs.field(factory=lambda: deque(maxlen=KEEP))
    _run: deque[int] = attrs.field(factory=lambda: deque(maxlen=KEEP))

    @property
    def is_quick(self) -> bool:
        """Whether the last run was over in no time."""
        return bool(self._run) and self._run[-1] < QUICK_USEC

    def add(self, *, failed: bool, total_usec: int, run_usec: int) -> None:
        """Count one call that has ended."""
        self.calls += 1
        self.errors += failed
        self.total_usec += total_usec
        self.run_usec += run_usec
        self._total.append(total_usec)
        self._run.append(run_usec)

    def rows(self) -> list[tuple[str, object]]:
        """The ``stats`` file, flat keyed."""
        rows: list[tuple[str, object]] = [("calls", self.calls), ("errors", self.errors)]
        for name, values in (("total", self._total), ("run", self._run)):
            ordered = sorted(values) or [0]
            for label, part in QUANTILES:
                value = ordered[min(len(ordered) - 1, int(part * len(ordered)))]
                rows.append((f"{name}_{label}_usec", value))
        return rows
