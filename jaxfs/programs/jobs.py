"""What is being made for a program, and what was: for ``status`` and ``trace``."""

from __future__ import annotations

import contextlib
import time
from collections import Counter, deque
from collections.abc import Iterator
from typing import Literal, get_args

import attrs

from jaxfs.errors import JaxfsError
from jaxfs.programs.build_key import BuildKey
from jaxfs.programs.stats import Histogram

KEEP = 1000  # of those that have ended
Kind = Literal["trace", "compile", "load", "draw"]


def _now_usec() -> int:
    return time.monotonic_ns() // 1000


@attrs.define(eq=False)
class BuildJob:
    """One step from a source to something that runs.

    ``trace`` reads, transforms and lowers, ``compile`` is the compiler's work, ``load`` the
    engine's, which compiles too where a platform's compiler needs the device, ``draw`` a picture's.
    Times are
    microseconds of CLOCK_MONOTONIC; ``started_usec`` is 0 while other jobs have their turn.
    """

    kind: Kind
    uid: int
    program: str  # the written one it is made from
    build_key: BuildKey
    asked_usec: int = attrs.field(factory=_now_usec)
    started_usec: int = 0
    ended_usec: int = 0
    errno: str = ""

    def begin(self) -> None:
        """It is its turn.  The first time counts: a job may have to start again."""
        self.started_usec = self.started_usec or _now_usec()

    @property
    def phase(self) -> str:
        """What it does now: waiting | trace | compile | load | draw."""
        return self.kind if self.started_usec else "waiting"


class BuildJobs:
    """Those under way by key; the last ones that ended, that nobody has looked at yet; and how
    many ended how (by kind and errno) and how long they took, waiting not included."""

    def __init__(self) -> None:
        self.under_way: dict[str, BuildJob] = {}
        self.recent: deque[BuildJob] = deque(maxlen=KEEP)
        self.counts: Counter[tuple[Kind, str]] = Counter()
        self.times: dict[Kind, Histogram] = {kind: Histogram() for kind in get_args(Kind)}

    def phase_of(self, recipe: BuildKey | None) -> str:
        """What is done for a recipe now; empty where nothing is."""
        found = (job.phase for job in self.under_way.values() if job.build_key == recipe)
        return next(found, "")

    @contextlib.contextmanager
    def doing(self, key: str, job: BuildJob) -> Iterator[BuildJob]:
        """The time of the block is the job's, an error its end."""
        self.under_way[key] = job
        try:
            yield job
        except JaxfsError as error:
            job.errno = error.errno_name
            raise
        finally:
            job.ended_usec = _now_usec()
            del self.under_way[key]
            self._count(job)

    def _count(self, job: BuildJob) -> None:
        self.recent.append(job)
        self.counts[job.kind, job.errno] += 1
        if job.started_usec:
            self.times[job.kind].add(job.ended_usec - job.started_usec)
