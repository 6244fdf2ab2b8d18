"""Which program is it that kills the engine?

When the engine dies while one program was running, it was that program.  When there were several,
their runs are sent one at a time until each has ended once, so that another death has one cause.
A program the engine died of twice is quarantined.

A fault (SIGSEGV, SIGABRT ...) is the program's doing for certain.  SIGKILL may be the kernel short
of memory or somebody with kill(1), so those deaths are forgotten when the program runs well again.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterable

DEATHS = 2  # that make a quarantine
GRACE_S = 1.0  # a suspect that runs this long no longer keeps the others waiting
FROM_OUTSIDE = frozenset({-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT})


class Quarantine:
    """What is known against each program, by ``Executable.key``."""

    def __init__(self) -> None:
        self.quarantined: dict[str, str] = {}
        self.suspected_runs: set[int] = set()  # numbers of runs to be sent one at a time
        self._faults: Counter[str] = Counter()
        self._kills: Counter[str] = Counter()

    def record_death(self, keys: set[str], runs: Iterable[int], status: int) -> None:
        """The engine ended with ``status`` while ``runs`` of these programs were under way."""
        if len(keys) == 1:
            self._blame(next(iter(keys)), status)
        else:
            self.suspected_runs.update(runs)

    def _blame(self, key: str, status: int) -> None:
        deaths = self._kills if status in FROM_OUTSIDE else self._faults
        deaths[key] += 1
        if self._faults[key] + self._kills[key] >= DEATHS:
            self.quarantined[key] = (
                f"quarantined: the engine died {DEATHS} times while running this program, "
                f"the last time by {exit_status_text(status)}; write a different program"
            )

    def record_success(self, key: str) -> None:
        """A run of this program has ended and the engine is alive."""
        if self._kills:
            self._kills.pop(key, None)

    def forget_run(self, run: int) -> None:
        """A run has ended, whichever way."""
        if self.suspected_runs:
            self.suspected_runs.discard(run)


def exit_status_text(status: int) -> str:
    """An exit status in words: ``SIGSEGV`` or ``exit status 1``."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
