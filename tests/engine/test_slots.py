"""What users may run on a device at the same time."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from jaxfs.engine.worker.slots import MAX_WEIGHT, SLOTS, SLOTS_PER_USER, Slots, weight_of
from jaxfs.testing import eventually

ALICE, BOB, CAROL = 1001, 1002, 1003
XLA_TAKES = 32  # computations of one CPU device


class Runs:
    """Runs in threads that hold slots until they are ended."""

    def __init__(self, slots: Slots, pool: ThreadPoolExecutor) -> None:
        self.slots = slots
        self.pool = pool
        self.begun: list[int] = []
        self.over = threading.Event()

    def start(self, user: int, count: int = 1, weight: int = 1) -> None:
        for _ in range(count):
            self.pool.submit(self._run, user, weight)

    def _run(self, user: int, weight: int) -> None:
        with self.slots.hold(user, weight):
            self.begun.append(user)
            self.over.wait(60)


def test_one_user_leaves_slots_for_others() -> None:
    with ThreadPoolExecutor(64) as pool:
        runs = Runs(Slots(), pool)
        runs.start(ALICE, 36)
        eventually(lambda: runs.slots.running == SLOTS_PER_USER)
        runs.start(BOB)
        eventually(lambda: BOB in runs.begun)
        assert runs.begun.count(ALICE) == SLOTS_PER_USER
        runs.over.set()
    assert runs.begun.count(ALICE) == 36
    assert runs.slots.running == 0


def test_all_users_leave_places_for_small_runs() -> None:
    with ThreadPoolExecutor(64) as pool:
        runs = Runs(Slots(), pool)
        for user in range(2000, 2006):
            runs.start(user, 9)
        eventually(lambda: runs.slots.running == SLOTS)
        assert SLOTS < XLA_TAKES
        runs.over.set()
    assert len(runs.begun) == 54


def test_few_runs_with_much_data_begin_at_once() -> None:
    with ThreadPoolExecutor(64) as pool:
        runs = Runs(Slots(), pool)
        runs.start(ALICE, 8, weight_of(512 << 20))
        eventually(lambda: runs.slots.running == SLOTS_PER_USER and runs.slots.waiting == 6)
        assert runs.begun.count(ALICE) == SLOTS_PER_USER // MAX_WEIGHT
        runs.start(BOB)
        eventually(lambda: BOB in runs.begun)
        runs.over.set()
    assert runs.begun.count(ALICE) == 8
    assert runs.slots.running == 0


def test_small_runs_pass_no_large_one_that_waits_for_its_slots() -> None:
    slots = Slots(total=4, per_user=4)
    order: list[int] = []

    def run(user: int, weight: int) -> None:
        with slots.hold(user, weight):
            order.append(user)

    with ThreadPoolExecutor(16) as pool, contextlib.ExitStack() as stack:
        stack.enter_context(slots.hold(CAROL))
        for number, user in enumerate((ALICE, BOB, BOB)):
            pool.submit(run, user, 4 if user == ALICE else 1)
            eventually(partial(is_waiting, slots, number + 1))
        stack.close()
    assert order == [ALICE, BOB, BOB]


def test_a_run_that_takes_more_slots_than_there_are_gets_all() -> None:
    slots = Slots(total=2, per_user=1)
    with slots.hold(ALICE, MAX_WEIGHT):
        assert slots.running == 1
    assert slots.running == 0


def test_those_who_wait_take_turns() -> None:
    slots = Slots(total=1, per_user=1)
    order: list[int] = []

    def run(user: int) -> None:
        with slots.hold(user):
            order.append(user)

    with ThreadPoolExecutor(16) as pool, contextlib.ExitStack() as stack:
        stack.enter_context(slots.hold(CAROL))
        for user in (ALICE, ALICE, ALICE, BOB):
            before = slots.waiting
            pool.submit(run, user)
            eventually(partial(is_waiting, slots, before + 1))
        stack.close()
    assert order == [ALICE, BOB, ALICE, ALICE]


def is_waiting(slots: Slots, count: int) -> bool:
    return slots.waiting == count
