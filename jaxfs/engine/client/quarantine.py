"""Finds out which program kills the worker, and refuses it from then on.

A worker that dies while one program was running died of that program.  When there were several,
their runs are sent one at a time until each has ended once, so that another death has one cause.
A program that the worker died of twice is quarantined.

A fault (SIGSEGV, SIGABRT ...) is certainly the program's doing.  SIGKILL may be the kernel short of
memory or a person with kill(1), so those deaths are forgotten when the program runs well again.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterable

from jaxfs.posix.child_process import exit_status_text

DEATHS = 2  # that make a quarantine
GRACE_S = 1.0  # a suspect that runs this long no longer keeps the others waiting
FROM_OUTSIDE = frozenset({-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT})


class Quarantine:
    """The deaths of workers, by the program they are attributed to.

    Attributes:
        quarantined: Why a program is refused, by ``Executable.key``.
        suspected_runs: Numbers of runs that are sent one at a time.

    >>> quarantine = Quarantine()
    >>> for _ in range(2):
    ...     quarantine.record_death({"key"}, [], -11)
    >>> quarantine.quarantined["key"]
    'quarantined: the engine died 2 times while running this program, the last time by SIGSEGV; \
write a different program'
    """

    def __init__(self) -> None:
        self.quarantined: dict[str, str] = {}
        self.suspected_runs: set[int] = set()
        self._faults: Counter[str] = Counter()
        self._kills: Counter[str] = Counter()

    def for_another_worker(self) -> Quarantine:
        """Returns one that counts the same deaths, and has suspects of its own."""
        other = Quarantine()
        other.quarantined, other._faults, other._kills = self.quarantined, self._faults, self._kills
        return other

    def record_death(self, keys: set[str], runs: Iterable[int], status: int) -> None:
        """Records that a worker died.

        Args:
            keys: The programs that were under way.
            runs: The numbers of the runs under way that still have to end.
            status: The exit status, or minus the signal.
        """
        if len(keys) != 1:
            self.suspected_runs.update(runs)
            return
        (key,) = keys
        (self._kills if status in FROM_OUTSIDE else self._faults)[key] += 1
        if self._faults[key] + self._kills[key] >= DEATHS:
            self.quarantined[key] = (
                f"quarantined: the engine died {DEATHS} times while running this program, "
                f"the last time by {exit_status_text(status)}; write a different program"
            )

    def record_success(self, key: str) -> None:
        """Records that a run of this program has ended and the worker is alive.

        Kills from outside are forgotten then: the out-of-memory killer may have picked the worker
        for reasons that are not the program's. Faults stay counted.
        """
        if self._kills:
            self._kills.pop(key, None)

    def forget_run(self, run: int) -> None:
        """Stops suspecting a run, which has ended in whatever way."""
        if self.suspected_runs:
            self.suspected_runs.discard(run)
