"""Build steps under way and ended, for ``status``, ``metrics`` and ``trace``."""

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
    """One step from a source to something that runs.  Times are of CLOCK_MONOTONIC.

    Attributes:
        kind: ``trace`` reads, transforms and lowers; ``compile`` is XLA's work; ``load`` is the
            engine's, which also compiles where a platform's compiler needs the device; ``draw``
            makes a picture.
        uid: the owner of the program.
        program: the name of the source program.
        build_key: what is built.
        asked_usec: when it was asked for.
        started_usec: when its turn came; 0 while it waits for other jobs.
        ended_usec: when it ended; 0 before.
        errno: the name of its error; empty if it worked.
    """

    kind: Kind
    uid: int
    program: str
    build_key: BuildKey
    asked_usec: int = attrs.field(factory=_now_usec)
    started_usec: int = 0
    ended_usec: int = 0
    errno: str = ""

    def begin(self) -> None:
        """Notes that its turn has come; only the first time counts."""
        self.started_usec = self.started_usec or _now_usec()


class BuildJobs:
    """The build steps of a mount.

    Attributes:
        under_way: by a key that names the product.
        recent: the last ones that ended, the oldest first.
        counts: how many ended, by kind and errno.
        times: how long they took by kind, without waiting.
    """

    def __init__(self) -> None:
        self.under_way: dict[str, BuildJob] = {}
        self.recent: deque[BuildJob] = deque(maxlen=KEEP)
        self.counts: Counter[tuple[Kind, str]] = Counter()
        self.times: dict[Kind, Histogram] = {kind: Histogram() for kind in get_args(Kind)}

    def phase_of(self, build_key: BuildKey | None) -> str:
        """Returns the step under way for a key.

        Returns:
            The kind of the job; ``waiting`` if its turn has not come, or a file is written before
            it; empty if nothing is built.
        """
        for job in self.under_way.values():
            if job.build_key == build_key:
                return job.kind if job.started_usec else "waiting"
        return "waiting" if build_key is not None else ""

    @contextlib.contextmanager
    def doing(self, key: str, job: BuildJob) -> Iterator[BuildJob]:
        """Lists a job while the block runs, and counts it with the block's time and error."""
        self.under_way[key] = job
        try:
            yield job
        except JaxfsError as error:
            job.errno = error.errno_name
            raise
        finally:
            job.ended_usec = _now_usec()
            del self.under_way[key]
            self.recent.append(job)
            self.counts[job.kind, job.errno] += 1
            if job.started_usec:
                self.times[job.kind].add(job.ended_usec - job.started_usec)
