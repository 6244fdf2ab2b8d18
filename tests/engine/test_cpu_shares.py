"""How the long runs of users share the processors."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jaxfs.engine.worker import cpu_shares
from jaxfs.engine.worker.cpu_shares import LONG_S, POOL, CpuShares, niceness
from jaxfs.testing import eventually, eventually_async
from tests.engine.conftest import Programs
from tests.engine.test_sharing import ALICE, BOB, ENDLESS, ONES, Users, with_users

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root may lower a niceness again")
LATER_S = 1e9  # by time.monotonic(): every run is long
WEIGHT = 1024  # the kernel's, of a thread without niceness


class Threads:
    """Threads that count as computing until they are ended."""

    def __init__(self, shares: CpuShares, pool: ThreadPoolExecutor) -> None:
        self.shares = shares
        self.over = threading.Event()
        self.began: dict[int, int] = {}  # user by tid
        self._pool = pool

    def start(self, user: int, count: int) -> None:
        before = len(self.began)
        for _ in range(count):
            self._pool.submit(self._compute, user)
        eventually(lambda: len(self.began) == before + count)

    def _compute(self, user: int) -> None:
        with self.shares.count(user) as thread:
            self.began[thread.tid] = user
            self.over.wait(60)

    def nice(self, user: int) -> list[int]:
        return [
            os.getpriority(os.PRIO_PROCESS, tid) for tid, of in self.began.items() if of == user
        ]


@pytest.fixture
def threads() -> Iterator[Threads]:
    with ThreadPoolExecutor(32) as pool:
        found = Threads(CpuShares(), pool)
        yield found
        found.over.set()


def test_all_long_runs_of_a_user_weigh_as_much_as_one() -> None:
    for count in range(1, 33):
        weight = count * WEIGHT / 1.25 ** niceness(count)
        assert WEIGHT / 1.25 <= weight <= WEIGHT


def test_a_user_has_no_larger_share_with_more_runs(threads: Threads) -> None:
    base = os.getpriority(os.PRIO_PROCESS, 0)
    threads.start(ALICE, 8)
    threads.start(BOB, 1)
    threads.shares.look(LATER_S)
    assert threads.nice(ALICE) == [min(19, base + 10)] * 8
    assert threads.nice(BOB) == [base]


def test_short_runs_are_left_alone(threads: Threads) -> None:
    base = os.getpriority(os.PRIO_PROCESS, 0)
    threads.start(ALICE, 8)
    threads.shares.look(-LONG_S)
    assert threads.nice(ALICE) == [base] * 8


def test_a_thread_has_its_priority_back_after_a_long_run(threads: Threads) -> None:
    base = os.getpriority(os.PRIO_PROCESS, 0)
    threads.start(ALICE, 8)
    threads.shares.look(LATER_S)
    threads.over.set()
    eventually(lambda: threads.nice(ALICE) == [base] * 8)


@pytest.mark.parametrize("name", [POOL, "python"])
def test_threads_of_xla_that_never_rest_weigh_as_one_for_each_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Their user is not known: they compute for all; so does the pool of products."""
    count = 8 * len(os.sched_getaffinity(0))
    monkeypatch.setattr(cpu_shares, "TASKS", tmp_path)
    tids = range(100, 101 + count)

    def write(tid: int, demand_ns: int) -> None:
        (tmp_path / str(tid)).mkdir(exist_ok=True)
        (tmp_path / str(tid) / "comm").write_text(f"{name}\n" if tid > 100 else "other\n")
        (tmp_path / str(tid) / "schedstat").write_text(f"{demand_ns} {demand_ns} 1\n")

    for tid in tids:
        write(tid, 0)
    shares = Recorded()
    with shares.count(ALICE):
        shares.look(LATER_S)
        for tid in tids[1:]:
            write(tid, 500_000_000)
        shares.look(LATER_S + 1)
        assert shares.found == dict.fromkeys(tids[1:], niceness(8))
        shares.look(LATER_S + 2)
        assert set(shares.found.values()) == {0}, "they have rested meanwhile"


class Recorded(CpuShares):
    """Records what threads would get, by number."""

    def __init__(self) -> None:
        self.found: dict[int, int] = {}
        super().__init__()

    def _set(self, tid: int, wanted: int) -> None:
        self.found[tid] = wanted

    def _look_on(self) -> None:
        """Does not look by itself."""


def niceness_in(pid: int) -> list[int]:
    """Of the threads of a process."""
    stats = (path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat"))
    return [int(text.rpartition(")")[2].split()[16]) for text in stats]


def test_a_worker_shares_the_processors_by_user(programs: Programs) -> None:
    async def test(users: Users) -> None:
        loops = [users.run(ALICE, "count_to_zero", ENDLESS) for _ in range(6)]
        pid = users.shared.pid
        wanted = max(0, os.getpriority(os.PRIO_PROCESS, 0)) + niceness(6)
        await eventually_async(lambda: niceness_in(pid).count(wanted) == 6)
        assert (await users.run(BOB, "f32", ONES).array())[0] == 2
        assert not any(run.outcomes for run in loops)

    with_users(programs, test)
