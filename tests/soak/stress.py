"""Two users do their worst while a third one uses the mount: what does the third one notice?

The mount has its default options and lets other users in.  Each attack has a mount of its own; in
the end two users do all of them at once.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from benchmarks.processes import environment
from benchmarks.rounds import quantile
from tests.soak.attacks import ALL
from tests.soak.mount import Mount, mounted
from tests.soak.third_user import STEPS, Usage

ATTACKERS, THIRD = (20001, 20002), 20003
NOTHING, TOGETHER = "nothing", "together"
READY_S, END_S = 60.0, 90.0
SAMPLED_S = 0.2
FATAL_MIB = 4096.0  # the machine has other work: a front that grows by more is killed


class Times(msgspec.Struct, frozen=True):
    """How long steps of one kind took.

    Attributes:
        count: How many there were.
        p50_s: The median, in seconds.
        p99_s: Of 99 in 100 at most.
        longest_s: Of the slowest.
    """

    count: int
    p50_s: float
    p99_s: float
    longest_s: float

    @classmethod
    def of(cls, took_s: list[float]) -> Times:
        """Returns those of some steps."""
        if not took_s:
            return cls(0, 0.0, 0.0, 0.0)
        return cls(len(took_s), quantile(took_s, 0.5), quantile(took_s, 0.99), max(took_s))


class Row(msgspec.Struct, frozen=True):
    """What one attack did.

    Attributes:
        attack: Its name.
        what: A phrase.
        seconds: How long it went on.
        steps: The third user's, by kind.
        growth_mib: The most by which the front's private memory grew meanwhile.
        refused: The third user's failed steps, by errno.
        internal_errors: Requests of anybody that failed by a fault of jaxfs.
        wrong: Wrong answers that the third user got.
        stuck: The third user's steps that did not end.
        attackers: Steps of the attackers: succeeded, refused by errno, stuck or killed.
        reasons: The first refusals and wrong answers in words.
    """

    attack: str
    what: str
    seconds: float
    steps: dict[str, Times]
    growth_mib: float
    refused: dict[str, int]
    internal_errors: int
    wrong: int
    stuck: int
    attackers: dict[str, int]
    reasons: list[str]

    @property
    def missed(self) -> list[str]:
        """What the third user should not have noticed; empty if all limits are kept."""
        over = [name for name, (limit, of) in LIMITS.items() if of(self) > limit]
        return over + [f"no {step}" for step, times in self.steps.items() if not times.count]


# at most; a third user's seconds, unless the name is of something else
LIMITS: dict[str, tuple[float, Callable[[Row], float]]] = {
    "stat p99": (0.05, lambda row: row.steps["stat"].p99_s),
    "ls": (1.0, lambda row: row.steps["ls"].longest_s),
    "compile": (3.0, lambda row: row.steps["compile"].longest_s),
    "call": (1.0, lambda row: row.steps["call"].longest_s),
    "growth in MiB": (100.0, lambda row: row.growth_mib),
    "refused": (0, lambda row: sum(row.refused.values())),
    "internal errors": (0, lambda row: abs(row.internal_errors)),
    "wrong answers": (0, lambda row: row.wrong),
    "stuck": (0, lambda row: row.stuck),
}


def stress(names: Sequence[str], seconds: float, alone_s: float) -> Iterator[Row]:
    """Does attacks one after another, each by two users; yields each row as it is there.

    Args:
        names: Of attacks, ``NOTHING`` and ``TOGETHER`` among them; empty: all.
        seconds: How long all together go on.
        alone_s: How long each of the others goes on.
    """
    if os.getuid() != 0:
        raise PermissionError("the stress needs root: it acts as three other users")
    for name in names or (NOTHING, *ALL, TOGETHER):
        attacks = {NOTHING: [], TOGETHER: list(ALL)}.get(name, [name])
        yield _attacked(name, attacks, seconds if name == TOGETHER else alone_s)


def _attacked(name: str, attacks: list[str], seconds: float) -> Row:
    with users() as start, mounted("allow_other") as mount:
        place, shown_s = str(mount.path), str(seconds)
        third = start("tests.soak.third_user", place, str(THIRD), shown_s)
        attackers = [
            start("tests.soak.attacks", place, str(uid), shown_s, *attacks) for uid in ATTACKERS
        ]
        if any(_line(process, READY_S) != "ready" for process in (third, *attackers)):
            raise RuntimeError("the users could not begin on a quiet mount; see above")
        memory = PrivateMemory(mount.front.pid)
        for process in (third, *attackers):
            assert process.stdin is not None
            print("begin", file=process.stdin, flush=True)
        usage = msgspec.json.decode(_line(third, seconds + END_S) or "{}", type=Usage)
        outcomes: Counter[str] = Counter()
        for process in attackers:
            outcomes.update(json.loads(_line(process, END_S) or '{"silent": 1}'))
        growth_mib = memory.stop()
        internal = _internal_errors(mount)
    what = ALL[name].what if name in ALL else f"{len(attacks)} attacks at once"
    return Row(
        name,
        what,
        seconds,
        {step: Times.of(usage.took_s[step]) for step in STEPS},
        growth_mib,
        dict(usage.refused),
        internal,
        usage.wrong,
        usage.stuck,
        {key: count for key, count in outcomes.items() if count},
        usage.reasons,
    )


@contextmanager
def users() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts processes, modules with arguments; at the end of the block they are killed.

    A process that waits for a mount may not end before the mount does, so this is around it.
    """
    processes: list[subprocess.Popen[str]] = []

    def start(module: str, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    try:
        yield start
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.communicate()


def _line(process: subprocess.Popen[str], timeout_s: float) -> str:
    """Returns the next line that a process prints; empty if none comes in time."""
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], timeout_s)
    return process.stdout.readline().strip() if readable else ""


def _internal_errors(mount: Mount) -> int:
    """Returns the count of ``health``; -1 where the mount does not answer."""
    with suppress(OSError):
        lines = (mount.path / "health").read_text().splitlines()
        rows = {name: value for name, _, value in (line.partition(" ") for line in lines)}
        return int(rows["internal_errors"])
    return -1


class PrivateMemory(threading.Thread):
    """Samples what a process has for itself: not the shared memory of results, which has quotas.

    Kills it (SIGKILL) where it grows by more than ``FATAL_MIB``.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._status = Path(f"/proc/{pid}/status")
        self._before = self._most = self._kib()
        self._stop_asked = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._stop_asked.wait(SAMPLED_S):
            self._most = max(self._most, self._kib())
            if self._most - self._before > 1024 * FATAL_MIB:
                os.kill(self._pid, signal.SIGKILL)
                return

    def stop(self) -> float:
        """Returns by how many MiB it grew at most."""
        self._stop_asked.set()
        self.join()
        return (self._most - self._before) / 1024

    def _kib(self) -> int:
        """Returns 0 where the process has ended."""
        with suppress(OSError, IndexError):
            return int(self._status.read_text().partition("RssAnon:")[2].split()[0])
        return 0
