"""E1 and E2: several users of one engine, and two engines on one card."""

from __future__ import annotations

from time import perf_counter

import numpy as np
import trio

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.caller import Caller, first_output
from benchmarks.gpu.checks.harm import memory_fraction
from benchmarks.gpu.executables import inputs_of
from benchmarks.gpu.outcomes import Found
from jaxfs.engine.client.client import open_local_engine
from jaxfs.engine.interface import Executable, Outcome
from jaxfs.ipc.shared_memory import Pool

USERS, CALLS = 4, 50
WAIT_S = 30.0
FRACTION = 0.3


async def calls_of(caller: Caller, executable: Executable, user: int, wrong: list[str]) -> None:
    """Calls a program one call after another, as one of many clients."""
    (x,) = inputs_of(executable)
    for turn in range(CALLS):
        ended, outcomes = trio.Event(), list[Outcome]()

        def done(
            outcome: Outcome, outcomes: list[Outcome] = outcomes, ended: trio.Event = ended
        ) -> None:
            outcomes.append(outcome)
            ended.set()

        given = x + user + turn
        caller.engine.submit(executable, (given.tobytes(),), done, user=user)
        await ended.wait()
        if outcomes[0].error is not None:
            wrong.append(str(outcomes[0].error))
        elif not np.array_equal(first_output(executable, outcomes[0]), given + given):
            wrong.append("wrong")


async def users(bench: Bench) -> Found:
    """Four users of one engine."""
    executable, caller = await bench.loaded("small"), await bench.caller()
    alone_s = await caller.median_s(executable, [inputs_of(executable)[0].tobytes()], CALLS)
    wrong, start = list[str](), perf_counter()
    with trio.move_on_after(WAIT_S) as scope:
        async with trio.open_nursery() as nursery:
            for user in range(1, USERS + 1):
                nursery.start_soon(calls_of, caller, executable, user, wrong)
    each_s = (perf_counter() - start) / (USERS * CALLS)
    return Found(
        not wrong and not scope.cancelled_caught,
        {"us": each_s * 1e6, "alone_us": alone_s * 1e6, "wrong": " | ".join(wrong)[:200]},
    )


async def engines(bench: Bench) -> Found:
    """Two engines, each with a part of the card's memory, as one for each user has it."""
    executable, wrong, pools = bench.executable("small"), list[str](), (Pool(), Pool())
    with memory_fraction(FRACTION):
        start = perf_counter()
        async with (
            open_local_engine(bench.options(), pools[0]) as first,
            open_local_engine(bench.options(), pools[1]) as second,
        ):
            start_s, start = perf_counter() - start, perf_counter()
            with trio.move_on_after(WAIT_S) as scope:
                async with trio.open_nursery() as nursery:
                    for user, engine in enumerate((first, second)):
                        nursery.start_soon(calls_of, Caller(engine), executable, user, wrong)
            each_s = (perf_counter() - start) / (2 * CALLS)
    for pool in pools:
        pool.close()
    return Found(
        not wrong and not scope.cancelled_caught,
        {"us": each_s * 1e6, "starts_s": start_s, "wrong": " | ".join(wrong)[:200]},
    )


CHECKS = {"E1": users, "E2": engines}
