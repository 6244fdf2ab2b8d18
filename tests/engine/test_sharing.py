"""Users of one worker: nobody's endless runs, kills and crashes stop those of others."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
import pytest
import trio

from jaxfs.arrays.run_inputs import release_inputs
from jaxfs.calls.scheduler import Scheduler
from jaxfs.engine.client.client import LocalEngine
from jaxfs.engine.client.engines import MAX_SEPARATE, SharedEngine, open_shared
from jaxfs.engine.interface import Executable, Input, Outcome, OutputRef
from jaxfs.engine.protocol import EngineOptions
from jaxfs.engine.worker.slots import SLOTS_PER_USER
from jaxfs.errors import Cancelled, RunFailed
from jaxfs.testing import eventually_async
from tests.engine.conftest import Programs, arrays_of

ONE = EngineOptions(platform="cpu", devices=1)
ALICE, BOB, CAROL = 1001, 1002, 1003
ENDLESS, TURNS = np.int32(1), np.int32(1000)
ONES = np.ones(8, "f4")
SQUARE = np.full((512, 512), 0.5, "f4")


class UserRun:
    """One run of a user, whose outcome can be awaited; only the first one counts."""

    def __init__(
        self,
        engine: LocalEngine,
        user: int,
        executable: Executable,
        inputs: Sequence[Input | OutputRef | np.ndarray | np.generic],
        shared_as: int = 0,
    ) -> None:
        self.executable = executable
        self.outcomes: list[Outcome] = []
        self._ended = trio.Event()
        passed = [x.tobytes() if isinstance(x, np.ndarray | np.generic) else x for x in inputs]
        self.number = engine.submit(
            executable, tuple(passed), self._done, shared_as=shared_as, user=user
        )

    def _done(self, outcome: Outcome) -> None:
        if self.outcomes:
            release_inputs([outcome.outputs])
            return
        self.outcomes.append(outcome)
        self._ended.set()

    async def array(self) -> np.ndarray:
        await self._ended.wait()
        return arrays_of(self.executable, self.outcomes[0])[0]


class Users:
    """Submits runs of users to where they run now, as the scheduler does."""

    def __init__(self, engines: SharedEngine, programs: Programs) -> None:
        self.engines = engines
        self.programs = programs
        self.places: dict[int, LocalEngine] = {}

    @property
    def shared(self) -> LocalEngine:
        engine = self.engines.of(0)
        assert isinstance(engine, LocalEngine)
        return engine

    def run(
        self,
        user: int,
        name: str,
        *inputs: Input | OutputRef | np.ndarray | np.generic,
        shared_as: int = 0,
    ) -> UserRun:
        engine = self.places.get(user, self.shared)
        return UserRun(engine, user, self.programs[name], inputs, shared_as)

    def separate(self, user: int) -> LocalEngine:
        engine = self.engines.separate(user)
        assert isinstance(engine, LocalEngine)
        self.places[user] = engine
        return engine


def with_users(
    programs: Programs, test: Callable[[Users], Awaitable[None]], seconds: float = 120
) -> None:
    """``await test(users)`` with engines of its own; all memory is given back in the end."""

    async def main() -> None:
        with trio.fail_after(seconds):
            async with open_shared(ONE) as engines:
                pool = engines.of(0).pool
                await test(Users(engines, programs))
                pids = {engine.pid for engine in engines.all()} - {0}
        assert pool.used_bytes == 0
        for pid in pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)

    trio.run(main, strict_exception_groups=True)


def test_thirty_six_endless_runs_stop_no_other_user(programs: Programs) -> None:
    async def test(users: Users) -> None:
        endless = [users.run(ALICE, "count_to_zero", ENDLESS) for _ in range(36)]
        await users.shared.statistics()
        for _ in range(3):
            assert (await users.run(BOB, "f32", ONES).array())[0] == 2
            assert await users.run(BOB, "count_to_zero", TURNS).array() == 0
            assert (await users.run(BOB, "big", np.ones(16 << 20, "f4")).array())[0] == 2
        assert users.engines.all() == (users.shared,)
        assert not any(run.outcomes for run in endless)

    with_users(programs, test)


@pytest.fixture
def few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """XLA has one thread for each core, so that endless products stop all other products."""
    monkeypatch.setenv("PJRT_NPROC", str(os.cpu_count()))


def test_endless_products_of_one_user_stop_no_product_of_another(programs: Programs) -> None:
    """Each keeps a thread of XLA's for ever, and there are enough of them."""

    async def test(users: Users) -> None:
        endless = [users.run(ALICE, "endless_dot", SQUARE) for _ in range(SLOTS_PER_USER)]
        endless += [users.run(CAROL, "endless_dot", SQUARE) for _ in range(SLOTS_PER_USER)]
        for _ in range(3):
            assert (await users.run(BOB, "dot", SQUARE).array())[0, 0] == 128
            assert await users.run(BOB, "count_to_zero", TURNS).array() == 0
        assert users.engines.all() == (users.shared,)
        assert not any(run.outcomes for run in endless)

    with_users(programs, test)


@pytest.mark.usefixtures("few_threads")
def test_a_user_that_holds_the_threads_of_xla_is_left_with_the_worker(programs: Programs) -> None:
    """Endless products keep XLA's threads: those of others cannot begin in the same worker."""

    async def test(users: Users) -> None:
        endless = [users.run(ALICE, "endless_dot", SQUARE) for _ in range(os.cpu_count() or 1)]
        await trio.sleep(0.5)
        product = users.run(BOB, "dot", SQUARE)
        pid = users.shared.pid
        separate = users.separate(ALICE)
        assert (await product.array())[0, 0] == 128
        assert (separate.pid, users.shared.pid != pid) == (pid, True)
        assert (separate.restarts, users.shared.restarts) == (0, 0)
        assert not any(run.outcomes for run in endless)

    with_users(programs, test)


def test_runs_of_others_go_on_where_they_are_and_begin_again_elsewhere(programs: Programs) -> None:
    """The first result counts: what is nearly done is not lost, what is stuck is not either."""

    async def test(users: Users) -> None:
        users.run(ALICE, "count_to_zero", ENDLESS)
        long = users.run(BOB, "count_to_zero", ENDLESS)
        others = [users.run(BOB, "big", np.full(16 << 20, i, "f4")) for i in range(4)]
        separate = users.separate(ALICE)
        assert separate.pid != 0
        for i, run in enumerate(others):
            assert (await run.array())[0] == 2 * i
        await eventually_async(lambda: users.shared.state == "ready")
        await users.shared.statistics()
        users.shared.cancel(long.number)
        await eventually_async(lambda: bool(long.outcomes))
        assert isinstance(long.outcomes[0].error, Cancelled)
        users.shared.cancel(long.number, kill=True)

    with_users(programs, test)


def test_a_chain_of_runs_moves_as_a_whole(programs: Programs) -> None:
    async def test(users: Users) -> None:
        users.run(ALICE, "count_to_zero", ENDLESS)
        held = [users.run(BOB, "count_to_zero", ENDLESS) for _ in range(8)]  # all of bob's slots
        first = users.run(BOB, "donated", np.ones(65536, "f4"), shared_as=7)
        second = users.run(BOB, "donated", OutputRef(first.number, 0, 1 << 18), shared_as=8)
        await users.shared.statistics()
        users.separate(ALICE)
        third = users.run(BOB, "donated", OutputRef(second.number, 0, 1 << 18))
        for run in held:
            users.shared.cancel(run.number)
        await eventually_async(lambda: users.shared.state == "ready")
        users.shared.cancel(held[0].number, kill=True)
        for power, run in enumerate((first, second, third), 1):
            assert set((await run.array()).tolist()) == {2.0**power}

    with_users(programs, test)


def test_ending_a_users_worker_again_and_again_ends_no_run_of_others(programs: Programs) -> None:
    async def test(users: Users) -> None:
        long = users.run(BOB, "count_to_zero", ENDLESS)
        victim = users.run(ALICE, "count_to_zero", ENDLESS)
        await users.shared.statistics()
        separate = users.separate(ALICE)
        for _ in range(3):
            await eventually_async(lambda: separate.state == "ready")
            await separate.statistics()
            separate.cancel(victim.number, kill=True)
            victim = users.run(ALICE, "count_to_zero", ENDLESS)
        assert users.shared.restarts == 0
        assert not long.outcomes
        assert (await users.run(BOB, "f32", ONES).array())[0] == 2

    with_users(programs, test)


def test_a_crash_beside_others_counts_for_no_run_of_theirs(programs: Programs) -> None:
    async def test(users: Users) -> None:
        long = users.run(BOB, "count_to_zero", ENDLESS)
        await users.shared.statistics()
        crash = users.run(ALICE, "crash", np.ones(4, "f4"))
        await eventually_async(lambda: users.shared.restarts == 1)
        assert users.shared.take_accused() == [ALICE]
        separate = users.separate(ALICE)
        await eventually_async(lambda: bool(crash.outcomes))
        assert isinstance(crash.outcomes[0].error, RunFailed)
        assert "SIGSEGV" in crash.outcomes[0].error.reason
        assert list(users.shared.quarantined) == list(separate.quarantined) == ["crash"]
        await eventually_async(lambda: users.shared.state == "ready")
        assert users.shared.restarts == 1
        assert not long.outcomes
        assert (await users.run(BOB, "f32", ONES).array())[0] == 2

    with_users(programs, test)


def test_further_users_share_the_last_engines(programs: Programs) -> None:
    async def test(users: Users) -> None:
        bad = range(2001, 2001 + MAX_SEPARATE + 1)
        runs = []
        for user in bad:
            runs.append(users.run(user, "count_to_zero", ENDLESS))
            await users.shared.statistics()
            users.separate(user)
        assert len(users.engines.all()) == 1 + MAX_SEPARATE
        assert (await users.run(BOB, "f32", ONES).array())[0] == 2
        for user in bad:
            assert (await users.run(user, "f32", ONES).array())[0] == 2
        assert not any(run.outcomes for run in runs)

    with_users(programs, test)


@pytest.mark.usefixtures("few_threads")
def test_share_after_frees_a_worker_by_itself(programs: Programs) -> None:
    async def test(users: Users) -> None:
        async with trio.open_nursery() as nursery:
            scheduler = Scheduler(users.shared, nursery, users.engines, share_after_s=0.5)
            outcomes: dict[str, Outcome] = {}

            def ask(user: int, name: str, x: np.ndarray) -> None:
                key = f"{name} of {user}"
                scheduler.submit(
                    user,
                    programs[name],
                    (x.tobytes(),),
                    lambda found: outcomes.update({key: found}),
                )

            for _ in range(os.cpu_count() or 1):
                ask(ALICE, "endless_dot", SQUARE)
            await users.shared.statistics()
            ask(BOB, "dot", SQUARE)
            await eventually_async(lambda: bool(outcomes))
            assert arrays_of(programs["dot"], outcomes[f"dot of {BOB}"])[0][0, 0] == 128
            assert list(outcomes) == [f"dot of {BOB}"]
            nursery.cancel_scope.cancel()

    with_users(programs, test)
