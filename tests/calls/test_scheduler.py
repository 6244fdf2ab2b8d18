"""Fairness between users and time limits, with an engine that answers when a test lets it."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest
import trio

from jaxfs.calls.scheduler import (
    ABANDONED_LIMIT_S,
    MAX_IN_ENGINE,
    MAX_IN_ENGINE_PER_USER,
    Run,
    Scheduler,
)
from jaxfs.engine.interface import Executable, Input, Outcome, Range
from jaxfs.errors import Cancelled, JaxfsError, OverQuota, TimedOut
from jaxfs.ipc.shared_memory import Pool
from jaxfs.types.signature import Signature

ALICE, BOB, CAROL = 1001, 1002, 1003
PROGRAM = Executable("key", "/nowhere", (0,), Signature((), ()))


@attrs.define(eq=False)
class SlowEngine:
    """Keeps each run until ``answer``; cancels and kills as ``interface.Engine`` does."""

    state: str = "ready"
    restarts: int = 0
    runs: dict[int, Callable[[Outcome], None]] = attrs.field(factory=dict)
    killed_for: list[int] = attrs.field(factory=list)
    started: int = 0

    def submit(
        self,
        executable: Executable,
        inputs: tuple[Input, ...],
        done: Callable[[Outcome], None],
        *,
        shared_as: int = 0,
    ) -> int:
        self.started += 1
        self.runs[self.started] = done
        return self.started

    def answer(self, number: int) -> None:
        self.runs.pop(number)(Outcome(b""))

    def cancel(self, number: int, *, kill: bool = False) -> None:
        if kill and number in self.runs:
            self.killed_for.append(number)
            self.restarts += 1
        if number in self.runs:
            self.runs.pop(number)(Outcome(error=Cancelled("cancelled")))


@attrs.define(eq=False)
class Desk:
    """A scheduler, its engine, and the errors of the runs in the order of their ends."""

    engine: SlowEngine
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
        self.engine.answer(min(self.engine.runs))


def at_desk(test: Callable[[Desk], None], max_calls: int = 0, limit_s: float = 0.0) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            engine = SlowEngine()
            scheduler = Scheduler(engine, nursery, max_calls=max_calls, limit_s=limit_s)  # type: ignore[arg-type]  # as much of an Engine as a scheduler uses
            test(Desk(engine, scheduler))
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_a_user_with_few_calls_does_not_wait_for_one_with_many() -> None:
    def story(desk: Desk) -> None:
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

    at_desk(story)


def test_users_take_turns_when_the_engine_is_full() -> None:
    def story(desk: Desk) -> None:
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

    at_desk(story)


def test_a_user_over_the_share_is_refused_and_others_are_not() -> None:
    def story(desk: Desk) -> None:
        for number in range(5):
            desk.ask(ALICE, f"a{number}")
        with pytest.raises(OverQuota, match="5 calls of user 1001 are unfinished"):
            desk.ask(ALICE, "one too many")
        desk.ask(BOB, "bob")
        desk.answer_next()
        desk.ask(ALICE, "fits again")

    at_desk(story, max_calls=5)


def test_inputs_are_given_back_whatever_happens() -> None:
    def story(desk: Desk) -> None:
        pool = Pool()

        def held() -> Input:
            return Range(pool.take(1), 0, 1)

        runs = [desk.ask(ALICE, str(n), (held(),)) for n in range(MAX_IN_ENGINE_PER_USER + 2)]
        desk.scheduler.cancel(runs[-1])
        desk.scheduler.abandon([runs[-2]])
        with pytest.raises(OverQuota):
            for _ in range(200):
                desk.ask(ALICE, "more", (held(),))
        while desk.engine.runs:
            desk.answer_next()
        assert pool.used_bytes == 0

    at_desk(story, max_calls=100)


def test_a_run_past_its_time_ends_with_timed_out_and_its_engine() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            engine = SlowEngine()
            scheduler = Scheduler(engine, nursery, limit_s=5.0)  # type: ignore[arg-type]  # as above
            desk = Desk(engine, scheduler)
            desk.ask(ALICE, "endless")
            scheduler.expire_overdue(100.0)
            scheduler.expire_overdue(104.0)
            assert not desk.ended
            scheduler.expire_overdue(105.5)
            ((name, error),) = desk.ended
            assert name == "endless" and isinstance(error, TimedOut)
            assert "call_timeout" in error.reason
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_a_run_that_starts_again_has_all_of_its_time_again() -> None:
    def story(desk: Desk) -> None:
        desk.ask(ALICE, "unlucky")
        desk.scheduler.expire_overdue(100.0)
        desk.engine.restarts += 1
        desk.scheduler.expire_overdue(104.0)
        desk.scheduler.expire_overdue(108.0)
        assert not desk.ended
        desk.scheduler.expire_overdue(109.5)
        assert desk.names == ["unlucky"]

    at_desk(story, limit_s=5.0)


def test_what_was_abandoned_does_not_begin_and_does_not_go_on_for_ever() -> None:
    def story(desk: Desk) -> None:
        running = desk.ask(ALICE, "running")
        fillers = [desk.ask(ALICE, f"f{n}") for n in range(MAX_IN_ENGINE_PER_USER)]
        desk.scheduler.abandon([running, *fillers])
        assert desk.names == [f"f{MAX_IN_ENGINE_PER_USER - 1}"]
        desk.scheduler.expire_overdue(1.0)
        desk.scheduler.expire_overdue(2.0 + ABANDONED_LIMIT_S)
        assert "running" in desk.names

    at_desk(story)
