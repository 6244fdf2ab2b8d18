"""Starts the processes of the checks, ends those that take too long, and keeps to a budget."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import msgspec

from benchmarks.gpu.config import Config, environment
from benchmarks.gpu.outcomes import Begin, Line, Outcome, decode
from benchmarks.gpu.plan import Check, batches

LEAST_S = 5.0  # less than this left: a check is not begun
BETWEEN_S = 30.0  # for the end of an engine, after a check and before the next
END_S = 5.0
LOG_CHARACTERS = 300


@dataclass
class Runner:
    """Runs checks; nothing that one does stops those after it.

    Attributes:
        config: Of the run.
        budget_s: For all of it.
        note: Called with each outcome when it is known.
        clean_up: Called after each process, with what it may have left in the working directory.
        command: What a process is started with, before its arguments.
    """

    config: Config
    budget_s: float
    note: Callable[[Outcome], None]
    clean_up: Callable[[Path], None] = lambda _: None
    command: Sequence[str] = (sys.executable, "-m", "benchmarks.gpu.process")
    _began: float = field(default_factory=monotonic)

    def run(self, checks: Iterable[Check]) -> None:
        """Runs the checks in their order."""
        for batch in batches(checks):
            left = list(batch)
            while left:
                left = left[self._run_some(left) :]

    @property
    def left_s(self) -> float:
        """What is left of the budget."""
        return self._began + self.budget_s - monotonic()

    def _run_some(self, checks: Sequence[Check]) -> int:
        """Runs checks in one process until one is cut, and returns how many are dealt with."""
        if self.left_s < LEAST_S:
            reason = f"the budget of {self.budget_s:.0f} s was used up"
            for check in checks:
                self.note(Outcome(check.name, "skipped", reason=reason))
            return len(checks)
        process = CheckProcess(self.config, checks, self.command)
        done = 0
        try:
            while done < len(checks):
                outcome = process.outcome(checks[done], self.left_s)
                self.note(outcome)
                done += 1
                if outcome.verdict == "timed out" or process.has_ended or self.left_s < LEAST_S:
                    break
        finally:
            process.end(grace_s=min(BETWEEN_S, max(0.0, self.left_s)) if done else 0.0)
            self.clean_up(self.config.directory)
        return done


class CheckProcess:
    """One process, and the messages it sends.

    Attributes:
        has_ended: Whether it sends no more.
    """

    def __init__(self, config: Config, checks: Sequence[Check], command: Sequence[str]) -> None:
        group, self._patience = checks[0].group, config.patience
        self._log = config.directory / f"{group.module}.log"
        reader, writer = os.pipe()
        names = [check.name for check in checks]
        text = msgspec.json.encode(config).decode()
        jax = {"device": config.platform, "cpu": "cpu", "any": ""}[group.jax]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, str(writer), text, group.module, *names],
                env=environment(jax),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[writer],
                start_new_session=True,
            )
        os.close(writer)
        self._reader = reader
        self._buffer = b""
        self.has_ended = False
        self._was_cut = False

    def outcome(self, check: Check, left_s: float) -> Outcome:
        """Returns how a check ends, at the latest after its limit and the budget that is left."""
        start = monotonic()
        limit_s = min(check.limit_s * self._patience, left_s)
        deadline = start + min(limit_s + BETWEEN_S, left_s)  # until it begins
        while True:
            message = self._receive(deadline)
            if isinstance(message, Outcome):
                return message
            if isinstance(message, Begin):
                deadline = min(start + left_s, monotonic() + limit_s)
            elif self.has_ended:
                return Outcome(check.name, "failed", reason=self._end_text())
            else:
                self._was_cut = True
                reason = f"no end after {limit_s:.0f} s"
                return Outcome(check.name, "timed out", reason=reason, seconds=monotonic() - start)

    def _receive(self, deadline: float) -> Line | None:
        """Returns the next message, or None at the deadline or at the end of the process."""
        while b"\n" not in self._buffer:
            readable, _, _ = select.select([self._reader], [], [], max(0.0, deadline - monotonic()))
            if not readable:
                return None
            data = os.read(self._reader, 1 << 16)
            if not data:
                self.has_ended = True
                return None
            self._buffer += data
        row, _, self._buffer = self._buffer.partition(b"\n")
        return decode(row)

    def _end_text(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_S)
        status = self._process.returncode
        name = signal.Signals(-status).name if status and status < 0 else f"exit status {status}"
        rows = self._log.read_text(errors="replace").strip().splitlines()
        return f"its process ended: {name}; {rows[-1][:LOG_CHARACTERS] if rows else 'no message'}"

    def end(self, grace_s: float) -> None:
        """Waits for its end; ends it and all its children where it has been cut, or takes long."""
        if not self._was_cut:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(grace_s)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._reader)
