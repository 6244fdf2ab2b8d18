"""How the long runs of users share the processors.

The kernel shares the processors between threads: beside eight endless runs of another user, a short
run would have a ninth.  So the threads of one user's long runs get a niceness at which they weigh
as much together as one thread.  Short runs are left alone: they end before it matters.

A cheap program, as XLA estimates it, computes in the thread that starts it; others compute in
threads of XLA's own, of which the user is not known.  Those that have not rested for a while weigh
together as one thread for each processor, or for each user with long runs if these are more.  So
does the pool for large products as a whole, which has more threads, see ``main.threads_of_xla``.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import attrs

LONG_S = 0.2  # from then on a run is long
LOOK_S = 0.25
STEP = 1.25  # a niceness of one more divides a thread's weight by so much, see sched(7)
MAX_NICENESS = 19
RESTLESS = 0.75  # part of the time between two looks
POOL = "tf_XLAEigen"  # the kernel's name of the threads of the pool
TASKS = Path("/proc/self/task")


def niceness(count: float) -> int:
    """Returns the niceness at which so many threads weigh as much as one without any.

    >>> [niceness(count) for count in (1, 2, 8, 1000)]
    [0, 4, 10, 19]
    """
    return min(MAX_NICENESS, math.ceil(math.log(max(1, count), STEP)))


class Demand:
    """For how long the threads of this process have computed, or waited for a processor.

    Attributes:
        pool: The threads of XLA's pool for large products.
    """

    def __init__(self) -> None:
        self.pool = frozenset(tid for tid in _tids() if _read(tid, "comm") == POOL)
        self._before = self._total_ns()
        self._before_s = time.monotonic()

    def since_last(self, now_s: float) -> dict[int, float]:
        """Returns, by thread, the part of the time since the last call; 1 for one without rest."""
        total_ns, passed_ns = self._total_ns(), max(1.0, 1e9 * (now_s - self._before_s))
        found = {
            tid: (now - self._before.get(tid, now)) / passed_ns for tid, now in total_ns.items()
        }
        self._before, self._before_s = total_ns, now_s
        return found

    def _total_ns(self) -> dict[int, int]:
        texts = {tid: _read(tid, "schedstat").split() for tid in _tids()}
        return {tid: int(text[0]) + int(text[1]) for tid, text in texts.items() if text}


def _tids() -> list[int]:
    return [int(path.name) for path in TASKS.iterdir()]


def _read(tid: int, name: str) -> str:
    """Returns nothing for a thread that has ended, and where the kernel has no such file."""
    with contextlib.suppress(OSError):
        return (TASKS / str(tid) / name).read_text().strip()
    return ""


@attrs.define(eq=False)
class RunThread:
    """A thread in which a run computes.

    Attributes:
        user: For whom.
        tid: The kernel's number of the thread.
        since_s: When the run began, by time.monotonic().
        niceness: What it has beyond that of the process.
    """

    user: int
    tid: int
    since_s: float
    niceness: int = 0


class CpuShares:
    """The threads of runs under way; methods may be called from any thread.

    Nothing is changed where a thread may not get its niceness back: it runs others later.  That
    takes root, or RLIMIT_NICE.
    """

    def __init__(self) -> None:
        self._base = os.getpriority(os.PRIO_PROCESS, 0)
        self._lock = threading.Lock()
        self._threads: set[RunThread] = set()
        self._has_threads = threading.Event()
        self._demand = Demand()
        self._processors = len(os.sched_getaffinity(0))
        self._niceness = dict[int, int]()  # of XLA's threads, beyond the process's
        threading.Thread(target=self._look_on, name="shares", daemon=True).start()

    @contextlib.contextmanager
    def count(self, user: int) -> Iterator[RunThread]:
        """Counts this thread as one that computes for a user, for the time of a block."""
        thread = RunThread(user, threading.get_native_id(), time.monotonic())
        with self._lock:
            self._threads.add(thread)
        self._has_threads.set()
        try:
            yield thread
        finally:
            with self._lock:
                self._threads.remove(thread)
                self._change(thread, 0)

    def look(self, now_s: float) -> None:
        """Sets the niceness of the threads of long runs.

        Args:
            now_s: The time by time.monotonic().
        """
        with self._lock:
            if not self._threads:
                self._has_threads.clear()
            known = {thread.tid for thread in self._threads} | {os.getpid()}
            long = [thread for thread in self._threads if now_s - thread.since_s >= LONG_S]
            counts = Counter(thread.user for thread in long)
            for thread in long:
                self._change(thread, niceness(counts[thread.user]))
        parts = self._demand.since_last(now_s) if long else {}
        others = {tid: part for tid, part in parts.items() if tid not in known}
        self._weigh_others(self._niceness_of(others, max(len(counts), self._processors)))

    def _niceness_of(self, parts: dict[int, float], weight: int) -> dict[int, int]:
        """Returns the niceness of XLA's threads, those that need none left out.

        Args:
            parts: As of ``Demand.since_last``.
            weight: As how many threads the pool weighs, and the others.
        """
        pool = self._demand.pool & parts.keys()
        restless = {tid for tid, part in parts.items() if part >= RESTLESS} - pool
        of_pool = niceness(sum(parts[tid] for tid in pool) / weight)
        of_restless = niceness(len(restless) / weight)
        return dict.fromkeys(pool, of_pool) | dict.fromkeys(restless, of_restless)

    def _weigh_others(self, wanted: dict[int, int]) -> None:
        """Sets the niceness of XLA's threads; those that are not named get none."""
        for tid in {**self._niceness, **wanted}:
            if wanted.get(tid, 0) != self._niceness.get(tid, 0):
                with contextlib.suppress(ProcessLookupError):
                    self._set(tid, wanted.get(tid, 0))
        self._niceness = wanted

    def _change(self, thread: RunThread, wanted: int) -> None:
        if wanted != thread.niceness:
            thread.niceness = wanted
            self._set(thread.tid, wanted)

    def _set(self, tid: int, wanted: int) -> None:
        os.setpriority(os.PRIO_PROCESS, tid, min(MAX_NICENESS, self._base + wanted))

    def _look_on(self) -> None:
        """Looks while there are runs, for as long as the process lives."""
        own = threading.get_native_id()
        try:
            self._set(own, 1)
            self._set(own, 0)
        except PermissionError:
            return
        while True:
            self._has_threads.wait()
            time.sleep(LOOK_S)
            self.look(time.monotonic())
