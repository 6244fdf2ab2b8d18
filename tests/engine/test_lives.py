"""The engine dies, is stopped, cannot start: no run is lost, none is answered twice."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
import trio

from jaxfs.engine.client.client import LocalEngine, open_local_engine
from jaxfs.engine.client.dispatcher import ATTEMPTS
from jaxfs.engine.client.quarantine import Quarantine
from jaxfs.engine.interface import Range
from jaxfs.engine.protocol import EngineOptions
from jaxfs.errors import Cancelled, RunFailed
from jaxfs.ipc.shared_memory import Pool
from jaxfs.testing import eventually_async
from tests.conftest import closing_descriptors
from tests.engine.conftest import OPTIONS, Programs, Submitted, call, run_with_engine, submit

ONES = np.ones(8, "f4")
CRASHING = np.ones(4, "f4")
ENDLESS = np.int32(1)


async def started(engine: LocalEngine, run: Submitted) -> None:
    """Wait until the process has begun ``run``: it answers a later message."""
    await engine.statistics()
    assert not run.outcomes


async def back_again(engine: LocalEngine, restarts: int) -> None:
    """Wait until the engine serves again, one life later."""
    await eventually_async(lambda: engine.restarts != restarts and engine.state == "ready")


def test_an_idle_engine_that_dies_is_back_by_itself(programs: Programs) -> None:
    async def test(engine: LocalEngine, pool: Pool) -> None:
        os.kill(engine.pid, signal.SIGKILL)
        await back_again(engine, 0)
        assert (await call(engine, programs["f32"], ONES))[0][0] == 2
        assert engine.restarts == 1

    run_with_engine(test)


def test_50_runs_in_flight_survive_sigkill(programs: Programs) -> None:
    async def test(engine: LocalEngine, pool: Pool) -> None:
        runs, first = [], engine.pid
        for i in range(50):
            with pool.take(1 << 18) as segment:
                segment.write(0, np.full(65536, i, "f4").tobytes())
                runs.append(Submitted(engine, programs["donated"], [Range(segment, 0, 1 << 18)]))
        os.kill(engine.pid, signal.SIGKILL)
        for i, run in enumerate(runs):
            assert set((await run.arrays())[0].tolist()) == {2.0 * i}
        assert engine.restarts == 1
        assert engine.pid != first
        assert all(len(run.outcomes) == 1 for run in runs)
        assert not engine.quarantined

    run_with_engine(test)


def test_a_program_that_kills_the_engine_is_quarantined_and_the_others_run(
    programs: Programs,
) -> None:
    async def test(engine: LocalEngine, pool: Pool) -> None:
        good = [submit(engine, programs["f32"], ONES) for _ in range(20)]
        bad = submit(engine, programs["crash"], CRASHING)
        good += [submit(engine, programs["big"], np.ones(16 << 20, "f4")) for _ in range(2)]
        outcome = await bad.outcome()
        assert isinstance(outcome.error, RunFailed)
        assert "SIGSEGV" in outcome.error.reason
        for run in good:
            assert (await run.arrays())[0][0] == 2
        assert list(engine.quarantined) == ["crash"]
        restarts = engine.restarts
        with pytest.raises(RunFailed, match="quarantined"):
            await call(engine, programs["crash"], CRASHING)
        assert engine.restarts == restarts <= ATTEMPTS

    run_with_engine(test)


def test_an_endless_run_stops_nobody_else_and_can_be_ended(programs: Programs) -> None:
    async def test(engine: LocalEngine, pool: Pool) -> None:
        endless = submit(engine, programs["count_to_zero"], ENDLESS)
        assert (await call(engine, programs["f32"], ONES))[0][0] == 2
        other = submit(engine, programs["count_to_zero"], np.int32(3))
        await started(engine, endless)
        engine.cancel(endless.number)
        assert isinstance((await endless.outcome()).error, Cancelled)
        assert engine.restarts == 0
        engine.cancel(other.number, kill=True)
        assert isinstance((await other.outcome()).error, Cancelled)
        assert (await call(engine, programs["f32"], ONES))[0][0] == 2
        assert engine.restarts == 1
        assert not engine.quarantined

    run_with_engine(test)


def test_ending_one_run_runs_the_others_again_without_counting(programs: Programs) -> None:
    async def test(engine: LocalEngine, pool: Pool) -> None:
        survivor = submit(engine, programs["count_to_zero"], np.int32(-1))
        for _ in range(ATTEMPTS + 1):
            victim = submit(engine, programs["count_to_zero"], ENDLESS)
            await started(engine, victim)
            restarts = engine.restarts
            engine.cancel(victim.number, kill=True)
            await back_again(engine, restarts)
        assert not survivor.outcomes
        engine.cancel(survivor.number)
        assert isinstance((await survivor.outcome()).error, Cancelled)

    run_with_engine(test)


def test_a_run_the_engine_dies_of_from_outside_is_given_up_in_the_end(programs: Programs) -> None:
    """Two endless programs: neither alone can be blamed, each has its three attempts."""

    async def test(engine: LocalEngine, pool: Pool) -> None:
        same = programs.executable("count_to_zero", key="another")
        runs = [
            submit(engine, programs["count_to_zero"], ENDLESS),
            submit(engine, same, ENDLESS),
        ]
        while not any(run.outcomes for run in runs):
            restarts = engine.restarts
            await engine.statistics()
            os.kill(engine.pid, signal.SIGKILL)
            await back_again(engine, restarts)
        first = next(run for run in runs if run.outcomes)
        assert isinstance(first.outcomes[0].error, RunFailed)
        assert engine.restarts <= 2 * ATTEMPTS

    run_with_engine(test)


def test_more_runs_than_the_engine_takes_are_kept_and_can_be_dropped(programs: Programs) -> None:
    async def test(engine: LocalEngine, pool: Pool) -> None:
        runs = [submit(engine, programs["f32"], np.full(8, i, "f4")) for i in range(600)]
        for run in runs[300:]:
            engine.cancel(run.number)
        for i, run in enumerate(runs[:300]):
            assert (await run.arrays())[0][0] == 2 * i
        for run in runs[300:]:
            assert isinstance((await run.outcome()).error, Cancelled)

    run_with_engine(test)


def test_closing_cancels_what_runs_and_leaves_no_process(programs: Programs) -> None:
    async def main() -> None:
        pool = Pool()
        async with open_local_engine(OPTIONS, pool) as engine:
            pid = engine.pid
            run = submit(engine, programs["count_to_zero"], ENDLESS)
            await started(engine, run)
        assert isinstance((await run.outcome()).error, Cancelled)
        late = submit(engine, programs["f32"], ONES)
        assert isinstance((await late.outcome()).error, Cancelled)
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    trio.run(main)


def test_an_engine_that_cannot_start_says_why(programs: Programs) -> None:
    async def main() -> None:
        engine = LocalEngine(EngineOptions(platform="no_such_platform"), Pool())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.run)
            with pytest.raises(RunFailed, match="no_such_platform"):
                await engine.wait_ready()
            assert engine.state == "failed"
            outcome = await submit(engine, programs["f32"], ONES).outcome()
            assert isinstance(outcome.error, RunFailed)
            await engine.close()

    trio.run(main)


def test_nothing_is_left_open_after_deaths_and_results(programs: Programs) -> None:
    async def test(engine: LocalEngine, pool: Pool) -> None:
        await call(engine, programs["big"], np.ones(16 << 20, "f4"))
        for _ in range(3):
            os.kill(engine.pid, signal.SIGKILL)
            await call(engine, programs["f32"], ONES)

    with closing_descriptors():
        run_with_engine(test)


def test_retired_segments_are_unmapped_in_the_engine(programs: Programs) -> None:
    def mapped(pid: int) -> int:
        with open(f"/proc/{pid}/maps") as maps:
            return sum("memfd:jaxfs" in line for line in maps)

    async def test(engine: LocalEngine, pool: Pool) -> None:
        for _ in range(5):
            with pool.take(1 << 18) as segment:
                segment.write(0, np.ones(65536, "f4").tobytes())
                run = Submitted(engine, programs["donated"], [Range(segment, 0, 1 << 18)])
            await run.arrays()
        pool.keep_bytes = 0
        assert mapped(engine.pid) > 0
        for _ in range(4):  # what was not used since the last but one
            pool.trim()
        await call(engine, programs["f32"], ONES)
        await eventually_async(lambda: mapped(engine.pid) == 0)

    run_with_engine(test)


SEGV, KILL = -signal.SIGSEGV, -signal.SIGKILL


def test_one_program_alone_is_blamed_and_two_deaths_are_enough() -> None:
    suspects = Quarantine()
    suspects.record_death({"a"}, [1], SEGV)
    assert not suspects.quarantined
    suspects.record_success("a")
    suspects.record_death({"a"}, [1], SEGV)
    assert list(suspects.quarantined) == ["a"]


def test_kills_from_outside_are_forgotten_when_the_program_runs_well() -> None:
    suspects = Quarantine()
    for _ in range(5):
        suspects.record_death({"a"}, [1], KILL)
        suspects.record_success("a")
    assert not suspects.quarantined
    suspects.record_death({"a"}, [1], KILL)
    suspects.record_death({"a"}, [1], KILL)
    assert "SIGKILL" in suspects.quarantined["a"]


def test_several_programs_are_not_blamed_but_run_one_at_a_time() -> None:
    suspects = Quarantine()
    suspects.record_death({"a", "b"}, [1, 2], SEGV)
    suspects.record_death({"a", "b"}, [1, 2], SEGV)
    assert not suspects.quarantined
    assert suspects.suspected_runs == {1, 2}
    suspects.forget_run(1)
    suspects.forget_run(2)
    assert not suspects.suspected_runs
