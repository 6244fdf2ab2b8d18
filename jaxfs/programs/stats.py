"""How often and how long: counters and quantiles of a program's calls."""

from __future__ import annotations

from collections import deque

import attrs

QUICK_USEC = 100  # a run so short is cheaper to wait for than to come back to
KEEP = 1024  # the quantiles are of this many last calls
QUANTILES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))


@attrs.define
class Stats:
    """Times are in microseconds: ``total`` from submission to the end, ``run`` in the engine."""

    calls: int = 0
    errors: int = 0
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
