"""Finds out which program kills the worker, and refuses it from then on.

A worker that dies while one program was running died of that program.  When there were several,
their runs are sent one at a time until each has ended once, so that another death has one cause.
A program that the worker died of twice is quarantined.

On a device with memory of its own all runs share a context, and an error shows at the next wait for
the device, whatever waits: even a run that is alone when the worker dies is only suspected.  It
counts when it dies once more, alone in a fresh context; a run ends only after its outputs were
computed, so that what ran before has no part in it.

A fault (SIGSEGV, SIGABRT ...) is certainly the program's doing.  SIGKILL may be the kernel short of
memory or a person with kill(1), so those deaths are forgotten when the program runs well again.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Collection, Sequence

from jaxfs.engine.client.run import EngineRun
from jaxfs.engine.protocol import DeviceFailed
from jaxfs.posix.child_process import exit_status_text

DEATHS = 2  # that make a quarantine
GRACE_S = 1.0  # a suspect that runs this long no longer keeps the others waiting
DEVICE_GRACE_S = 30.0  # on a device, which others use only after it; the engine may compile it too
FROM_OUTSIDE = frozenset({-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT})


class Quarantine:
    """The deaths of workers, by the program they are attributed to.

    Attributes:
        quarantined: Why a program is refused, by ``Executable.key``.
        suspected_runs: Numbers of runs that are sent one at a time.
        shares_context: Whether all runs share the context of a device with memory of its own.
        last_death: What the last worker died of, in words; empty before the first death.
        device_fault: Why it could not use its devices any more; empty if it could.

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
        self.shares_context = False
        self.last_death = ""
        self.device_fault = ""
        self._faults: Counter[str] = Counter()
        self._kills: Counter[str] = Counter()

    def for_another_worker(self) -> Quarantine:
        """Returns one that counts the same deaths, and has suspects of its own."""
        other = Quarantine()
        other.quarantined, other._faults, other._kills = self.quarantined, self._faults, self._kills
        other.shares_context = self.shares_context
        return other

    @property
    def grace_s(self) -> float:
        """Seconds after which a suspected run no longer keeps others waiting."""
        return DEVICE_GRACE_S if self.shares_context else GRACE_S

    def record_end(
        self, runs: Sequence[EngineRun], status: int, failure: DeviceFailed | None
    ) -> list[int]:
        """Finds out what a worker died of.

        An attempt counts only for runs of a user that had the worker alone, and for all after a
        fault of the machine, which may be there to stay.

        Args:
            runs: What it had not answered, in the order in which it was sent.
            status: The exit status, or minus the signal.
            failure: What it reported of its devices.

        Returns:
            The user that is accused: that of the last run, because most deaths follow the start of
            a run at once; none where the fault is the machine's or the device is shared.
        """
        self.device_fault = failure.reason if failure is not None else ""
        self.last_death = self.device_fault or exit_status_text(status)
        is_machine = failure is not None and failure.fault == "machine"
        if not is_machine:
            unended = [run.number for run in runs if not (run.has_ended or run.is_copied)]
            self.record_death({run.key for run in runs}, unended, status)
        if is_machine or len({run.user for run in runs}) == 1:
            for run in runs:
                run.attempts += 1
        return [] if is_machine or self.shares_context else [run.user for run in runs[-1:]]

    def record_death(self, keys: set[str], runs: Collection[int], status: int) -> None:
        """Records that a worker died.

        Args:
            keys: The programs that were under way.
            runs: The numbers of the runs under way that still have to end.
            status: The exit status, or minus the signal.
        """
        is_probe = bool(runs) and self.suspected_runs.issuperset(runs)
        if len(keys) != 1 or (self.shares_context and not is_probe):
            self.suspected_runs.update(runs)
            return
        (key,) = keys
        (self._kills if status in FROM_OUTSIDE else self._faults)[key] += 1
        if self._faults[key] + self._kills[key] >= DEATHS:
            cause = self.device_fault or exit_status_text(status)
            self.quarantined[key] = (
                f"quarantined: the engine died {DEATHS} times while running this program, "
                f"the last time by {cause}; write a different program"
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
