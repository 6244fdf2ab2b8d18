"""Users whose runs delay or end those of others get an engine of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from jaxfs.calls import scheduler as scheduler_module
from jaxfs.calls.scheduler import MAX_IN_ENGINE, MAX_IN_ENGINE_PER_USER, Scheduler
from jaxfs.calls.separation import FIRST_STAY_S, UserLoad, user_to_separate
from jaxfs.calls.user_queue import Run
from jaxfs.engine.interface import Executable, Outcome
from jaxfs.errors import JaxfsError, TimedOut
from jaxfs.testing import FakeEngine, FakeEngines, eventually_async
from jaxfs.types.signature import Signature

ALICE, BOB, CAROL = 1001, 1002, 1003
SHARE_AFTER_S = 5.0


@attrs.define(eq=False)
class Desk:
    """A scheduler over engines whose runs do not end, and how each run ended."""

    engines: FakeEngines
    scheduler: Scheduler
    ended: dict[str, JaxfsError | None] = attrs.field(factory=dict)

    @property
    def engine(self) -> FakeEngine:
        return self.engines.owner

    def ask(self, uid: int, name: str, device: int = 0) -> Run:
        program = Executable("key", "/nowhere", (device,), Signature((), ()))

        def done(outcome: Outcome) -> None:
            self.ended[name] = outcome.error

        return self.scheduler.submit(uid, program, (), done)

    def look(self, *times_s: float) -> None:
        """Check the limits as the scheduler does by itself."""
        for now_s in times_s:
            self.scheduler.expire_overdue(now_s)
            self.scheduler.share(now_s)


@asynccontextmanager
async def at_desk(platform: str = "cpu", devices: int = 1) -> AsyncIterator[Desk]:
    async with trio.open_nursery() as nursery:
        engines = FakeEngines(devices, platform)
        engines.owner.hold()
        scheduler = Scheduler(engines.owner, nursery, engines, share_after_s=SHARE_AFTER_S)
        yield Desk(engines, scheduler)
        nursery.cancel_scope.cancel()


LOADS = {
    "nobody": ([], None),
    "one user, alone, may run as long as it likes": ([UserLoad(ALICE, 64, 1)], None),
    "others that do not wait are no reason": ([UserLoad(ALICE, 64, 1), UserLoad(BOB)], None),
    "a user that waits without any long run": ([UserLoad(BOB, 0, 0, True), UserLoad(CAROL)], None),
    "another one waits for a place": ([UserLoad(BOB, 0, 0, True), UserLoad(ALICE, 2, 1)], ALICE),
    "another one's run does not end": ([UserLoad(BOB, 1, 9), UserLoad(ALICE, 2, 10)], ALICE),
    "as many: the one that came first": ([UserLoad(BOB, 1, 9), UserLoad(ALICE, 1, 8)], ALICE),
}


@pytest.mark.parametrize("name", LOADS)
def test_the_user_in_the_way_of_others_is_separated(name: str) -> None:
    loads, expected = LOADS[name]
    assert user_to_separate(loads) == expected


async def test_endless_calls_of_one_user_keep_no_other_user_waiting() -> None:
    async with at_desk() as desk:
        for number in range(36):
            desk.ask(ALICE, f"a{number}")
        desk.look(100.0)
        desk.ask(BOB, "bob")
        desk.look(102.0, 106.0)
        assert not desk.engines.separated, "bob has not waited long enough"
        desk.look(107.5)
        assert len(desk.engines.separated[ALICE].runs) == 36
        assert [run.user for run in desk.engine.runs.values()] == [BOB]
        desk.ask(ALICE, "a36")
        assert len(desk.engines.separated[ALICE].runs) == 37
        desk.engine.finish(outputs=b"")
        assert desk.ended == {"bob": None}, "no run was ended for it"


async def test_a_user_alone_is_neither_separated_nor_ended() -> None:
    for platform in ("cpu", "cuda"):
        async with at_desk(platform) as desk:
            for number in range(MAX_IN_ENGINE_PER_USER + 1):
                desk.ask(ALICE, str(number))
            desk.look(*(float(second) for second in range(1, 100)))
            assert not desk.engines.separated
            assert not desk.ended


async def test_places_taken_by_separated_users_are_free_for_others() -> None:
    async with at_desk() as desk:
        users = range(2001, 2001 + MAX_IN_ENGINE // MAX_IN_ENGINE_PER_USER)
        for user in users:
            for number in range(MAX_IN_ENGINE_PER_USER):
                desk.ask(user, f"{user}:{number}")
        desk.ask(BOB, "bob")
        assert desk.scheduler.waiting == 1
        desk.look(1.0, 7.0)
        assert desk.scheduler.waiting == 0
        assert BOB in {run.user for run in desk.engine.runs.values()}


async def test_a_separated_user_is_back_after_a_time_without_runs() -> None:
    async with at_desk() as desk:
        run = desk.ask(ALICE, "alice")
        desk.look(1.0)
        desk.ask(BOB, "bob")
        desk.look(2.0, 10.0)
        assert desk.scheduler.separated == 1
        desk.look(10.0 + 2 * FIRST_STAY_S)
        assert desk.scheduler.separated == 1, "its run has not ended"
        desk.engines.separated[ALICE].finish(run.number, outputs=b"")
        desk.look(1000.0, 1000.0 + FIRST_STAY_S - 1)
        assert desk.scheduler.separated == 1
        desk.look(1000.0 + FIRST_STAY_S)
        assert desk.scheduler.separated == 0
        desk.ask(ALICE, "again")
        assert {run.user for run in desk.engine.runs.values()} == {ALICE, BOB}


async def test_a_device_that_takes_one_engine_ends_the_run_in_the_way() -> None:
    async with at_desk("cuda", devices=2) as desk:
        desk.ask(ALICE, "endless")
        desk.ask(ALICE, "behind it")
        desk.ask(CAROL, "on the other device", device=1)
        desk.look(1.0)
        desk.ask(BOB, "bob")
        desk.look(2.0, 6.5)
        assert not desk.ended
        desk.look(7.5)
        ((name, error),) = desk.ended.items()
        assert name == "endless"
        assert isinstance(error, TimedOut)
        assert "share_after" in error.reason


async def test_a_run_that_waited_for_its_turn_is_not_long() -> None:
    async with at_desk("cuda") as desk:
        runs = [desk.ask(ALICE, str(number)) for number in range(10)]
        desk.ask(BOB, "bob")
        for number, run in enumerate(runs):
            desk.look(1.0 + number)
            desk.engine.finish(run.number, outputs=b"")
        desk.look(11.5)
        assert set(desk.ended.values()) == {None}


async def test_who_ends_a_worker_ends_only_its_own(autojump_clock: trio.testing.MockClock) -> None:
    async with at_desk() as desk:
        desk.ask(BOB, "bob")
        for number in range(3):
            endless = desk.ask(ALICE, f"a{number}")
            await trio.sleep(1)
            endless.kill()
            await trio.sleep(2)
        assert len(desk.engines.separated[ALICE].killed) == 3
        assert (desk.engine.killed, desk.engine.restarts) == ([], 0)
        assert "bob" not in desk.ended


async def test_others_use_a_worker_until_the_next_one_is_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A run that its user has removed goes on meanwhile: no other user waits for a start."""
    async with at_desk() as desk:
        desk.engines.prepared = trio.Event()
        desk.ask(BOB, "bob")
        desk.ask(ALICE, "endless").kill()
        await trio.sleep(scheduler_module.PREPARE_S / 2)
        assert "endless" in desk.ended, "its user does not wait"
        assert (desk.engine.killed, desk.engines.separated) == ([], {})
        desk.engines.prepared.set()
        await trio.sleep(1)
        assert len(desk.engines.separated[ALICE].killed) == 1
        assert desk.engine.killed == []


async def test_a_worker_is_ended_although_no_other_one_comes_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with at_desk() as desk:
        desk.engines.prepared = trio.Event()
        desk.ask(BOB, "bob")
        desk.engine.finish(outputs=b"")
        desk.ask(ALICE, "endless").kill()
        await trio.sleep(2 * scheduler_module.PREPARE_S)
        assert len(desk.engine.killed) == 1


async def test_a_user_alone_has_its_worker_ended_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with at_desk() as desk:
        desk.engines.prepared = trio.Event()
        desk.ask(ALICE, "endless").kill()
        await trio.sleep(1)
        assert len(desk.engine.killed) == 1
        assert desk.engines.preparations == 0


async def test_the_next_worker_is_up_before_a_user_is_separated() -> None:
    async with at_desk() as desk:
        desk.ask(ALICE, "endless")
        desk.look(1.0)
        desk.ask(BOB, "bob")
        desk.look(2.0, 2.0 + SHARE_AFTER_S / 2)
        await eventually_async(lambda: desk.engines.preparations == 1)
        assert not desk.engines.separated
        desk.look(2.0 + SHARE_AFTER_S)
        assert list(desk.engines.separated) == [ALICE]


async def test_a_user_that_ends_the_worker_again_and_again_is_separated(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Others find it away although they have no run when it is ended."""
    async with at_desk() as desk:
        desk.ask(BOB, "bob")
        desk.engine.finish(outputs=b"")
        for number in range(3):
            desk.ask(ALICE, f"a{number}").kill()
            await trio.sleep(2)
        assert len(desk.engine.killed) == 1
        assert len(desk.engines.separated[ALICE].killed) == 2


async def test_a_user_whose_runs_workers_die_of_is_separated() -> None:
    async with at_desk() as desk:
        desk.ask(BOB, "bob")
        desk.ask(ALICE, "crash")
        desk.engine.accused = [ALICE]
        desk.look(1.0)
        assert list(desk.engines.separated) == [ALICE]


async def test_closing_a_conversation_restarts_nothing_of_others(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with at_desk() as desk:
        desk.scheduler.abandon([desk.ask(ALICE, "endless")])
        await trio.sleep(1)
        desk.ask(BOB, "bob")
        await trio.sleep(2 * scheduler_module.ABANDONED_LIMIT_S)
        assert "endless" in desk.ended
        assert desk.engine.restarts == 0
        assert "bob" not in desk.ended
