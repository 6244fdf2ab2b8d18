"""Fairness between users and time limits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from jaxfs.calls.scheduler import (
    ABANDONED_LIMIT_S,
    MAX_IN_ENGINE,
    MAX_IN_ENGINE_PER_USER,
    Scheduler,
)
from jaxfs.calls.user_queue import Run, RunLimits
from jaxfs.engine.interface import Executable, Input, Range
from jaxfs.errors import JaxfsError, OverQuota, TimedOut
from jaxfs.testing import FakeEngine
from jaxfs.types.signature import Signature

ALICE, BOB, CAROL = 1001, 1002, 1003
PROGRAM = Executable("key", "/nowhere", (0,), Signature((), ()))


@attrs.define(eq=False)
class Desk:
    """A scheduler, its engine, and how each run ended, in the order of the ends."""

    engine: FakeEngine
    scheduler: Scheduler
    ended: list[tuple[str, JaxfsError | None]] = attrs.field(factory=list)

    def ask(self, uid: int, name: str, inputs: tuple[Input, ...] = ()) -> Run:
        return self.scheduler.submit(
            uid, PROGRAM, inputs, lambda outcome: self.ended.append((name, outcome.error))
        )

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.ended]

    def answer_next(self) -> None:
        self.engine.finish(outputs=b"")


@asynccontextmanager
async def at_desk(
    max_calls: int = 0, limit_s: float = 0.0, load_limit_s: float = 60.0
) -> AsyncIterator[Desk]:
    async with trio.open_nursery() as nursery:
        engine = FakeEngine()
        engine.hold()
        limits = RunLimits(limit_s, load_limit_s)
        scheduler = Scheduler(engine, nursery, max_calls=max_calls, limits=limits)
        yield Desk(engine, scheduler)
        nursery.cancel_scope.cancel()


async def test_a_user_with_few_calls_does_not_wait_for_one_with_many() -> None:
    async with at_desk() as desk:
        for number in range(1000):
            desk.ask(ALICE, f"a{number}")
        desk.ask(BOB, "bob")
        assert len(desk.engine.runs) == MAX_IN_ENGINE_PER_USER + 1
        for number in range(1000):
            desk.ask(CAROL, f"c{number}")
        for _ in range(2 * MAX_IN_ENGINE_PER_USER):
            desk.answer_next()
        assert "bob" in desk.names[: MAX_IN_ENGINE_PER_USER + 1]
        alices = sum(name.startswith("a") for name in desk.names)
        assert alices in range(MAX_IN_ENGINE_PER_USER - 1, MAX_IN_ENGINE_PER_USER + 2)


async def test_users_take_turns_when_the_engine_is_full() -> None:
    async with at_desk() as desk:
        users = [ALICE, BOB, CAROL, CAROL + 1]
        for number in range(100):
            for user in users:
                desk.ask(user, f"{user}:{number}")
        assert len(desk.engine.runs) == MAX_IN_ENGINE
        for _ in range(400):
            desk.answer_next()
        assert len(desk.ended) == 400
        assert desk.scheduler.waiting == 0
        owners = [name.partition(":")[0] for name in desk.names]
        rounds = [set(owners[start : start + 8]) for start in range(0, 400, 8)]
        assert sum(len(found) == 4 for found in rounds) > 40


async def test_a_user_over_the_share_is_refused_and_others_are_not() -> None:
    async with at_desk(max_calls=5) as desk:
        for number in range(5):
            desk.ask(ALICE, f"a{number}")
        with pytest.raises(OverQuota, match="5 calls of user 1001 are unfinished"):
            desk.ask(ALICE, "one too many")
        desk.ask(BOB, "bob")
        desk.answer_next()
        desk.ask(ALICE, "fits again")


async def test_inputs_are_given_back_whatever_happens() -> None:
    async with at_desk(max_calls=100) as desk:
        pool = desk.engine.pool

        def held() -> Input:
            return Range(pool.take(1), 0, 1)

        runs = [desk.ask(ALICE, str(n), (held(),)) for n in range(MAX_IN_ENGINE_PER_USER + 2)]
        desk.scheduler.cancel(runs[-1])
        desk.scheduler.abandon([runs[-2]])
        while desk.scheduler.waiting < 100 - MAX_IN_ENGINE_PER_USER:
            desk.ask(ALICE, "more", (held(),))
        with pytest.raises(OverQuota):
            desk.ask(ALICE, "one too many", (held(),))
        while desk.engine.runs:
            desk.answer_next()
        assert pool.used_bytes == 0


async def test_a_run_past_its_time_ends_with_timed_out_and_its_engine() -> None:
    async with at_desk(limit_s=5.0) as desk:
        desk.ask(ALICE, "endless")
        desk.scheduler.expire_overdue(100.0)
        desk.scheduler.expire_overdue(104.0)
        assert not desk.ended
        desk.scheduler.expire_overdue(105.5)
        ((name, error),) = desk.ended
        assert name == "endless"
        assert isinstance(error, TimedOut)
        assert "call_timeout" in error.reason


async def test_time_is_watched_by_itself(autojump_clock: trio.testing.MockClock) -> None:
    async with at_desk(limit_s=5.0) as desk:
        desk.ask(ALICE, "endless")
        await trio.sleep(4.9)
        assert not desk.ended
        await trio.sleep(2)
        assert desk.names == ["endless"]
        assert desk.engine.killed == [1]


async def test_a_run_that_starts_again_has_all_of_its_time_again() -> None:
    async with at_desk(limit_s=5.0) as desk:
        desk.ask(ALICE, "unlucky")
        desk.scheduler.expire_overdue(100.0)
        desk.engine.restarts += 1
        desk.scheduler.expire_overdue(104.0)
        desk.scheduler.expire_overdue(108.0)
        assert not desk.ended
        desk.scheduler.expire_overdue(109.5)
        assert desk.names == ["unlucky"]


async def test_time_does_not_count_while_the_engine_compiles_the_program() -> None:
    async with at_desk(limit_s=5.0) as desk:
        run = desk.ask(ALICE, "new")
        desk.engine.loading.add(run.number)
        for now_s in (100.0, 120.0, 150.0):
            desk.scheduler.expire_overdue(now_s)
        desk.engine.loading.clear()
        desk.scheduler.expire_overdue(154.0)
        assert not desk.ended
        desk.scheduler.expire_overdue(155.5)
        assert desk.names == ["new"]


@pytest.mark.parametrize("limit_s", [0.0, 5.0])
async def test_a_program_that_is_compiled_for_ever_is_not_waited_for(limit_s: float) -> None:
    async with at_desk(limit_s=limit_s) as desk:
        run = desk.ask(ALICE, "new")
        desk.engine.loading.add(run.number)
        for now_s in (100.0, 130.0):
            desk.scheduler.expire_overdue(now_s)
        desk.engine.restarts += 1
        for now_s in (150.0, 200.0):  # another worker loads it anew
            desk.scheduler.expire_overdue(now_s)
        assert not desk.ended
        desk.scheduler.expire_overdue(211.0)
        ((_, error),) = desk.ended
        assert isinstance(error, TimedOut)
        assert "-o compile_timeout" in error.reason


async def test_what_was_abandoned_does_not_begin_and_does_not_go_on_for_ever() -> None:
    async with at_desk() as desk:
        running = desk.ask(ALICE, "running")
        fillers = [desk.ask(ALICE, f"f{n}") for n in range(MAX_IN_ENGINE_PER_USER)]
        desk.scheduler.abandon([running, *fillers])
        assert desk.names == [f"f{MAX_IN_ENGINE_PER_USER - 1}"]
        desk.scheduler.expire_overdue(1.0)
        desk.scheduler.expire_overdue(2.0 + ABANDONED_LIMIT_S)
        assert "running" in desk.names


async def test_a_cancelled_run_ends_once() -> None:
    async with at_desk() as desk:
        runs = [desk.ask(ALICE, str(n)) for n in range(MAX_IN_ENGINE_PER_USER + 1)]
        for run in (runs[0], runs[-1], runs[0], runs[-1]):
            desk.scheduler.cancel(run)
        assert desk.names == ["0", str(MAX_IN_ENGINE_PER_USER)]
