"""C1 to C6: what must not take other runs along: no memory, an endless loop, an engine's end."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter

import numpy as np
import trio

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.caller import Caller, first_output, release_outputs
from benchmarks.gpu.checks.calls import NAMES
from benchmarks.gpu.executables import inputs_of
from benchmarks.gpu.outcomes import Found, Value
from jaxfs.engine.client.client import LocalEngine, open_local_engine
from jaxfs.engine.interface import Executable, Input, Outcome
from jaxfs.engine.protocol import EngineOptions
from jaxfs.errors import JaxfsError, NoSpace
from jaxfs.ipc.shared_memory import Pool

ONE, ODD = np.float32(1).tobytes(), np.int32(1).tobytes()
RELOAD_S, REFUSAL_S, RESTART_S, ANSWER_S = 1.0, 1.0, 8.0, 0.5
PATIENCE_S = 5.0
COMPILE_S = 15.0
FRACTION = 0.2  # of the card, for the check that fills it
ALLOCATORS = ("XLA_PYTHON_CLIENT_MEM_FRACTION", "XLA_CLIENT_MEM_FRACTION")
MADE_UP_LIMIT_BYTES = 32 << 20  # of a CPU's cache of named arrays


class Started:
    """A run that was submitted and may never end.

    Attributes:
        number: The run's number.
        outcomes: Its outcome, once it has ended.
    """

    def __init__(
        self, engine: LocalEngine, executable: Executable, inputs: Sequence[Input]
    ) -> None:
        self.outcomes: list[Outcome] = []
        self._ended = trio.Event()
        self.number = engine.submit(executable, tuple(inputs), self._done)

    def _done(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self._ended.set()

    async def ended(self, wait_s: float) -> bool:
        """Waits, and returns whether it has ended."""
        with trio.move_on_after(wait_s):
            await self._ended.wait()
        return bool(self.outcomes)


async def small_call_s(bench: Bench, caller: Caller, wait_s: float = PATIENCE_S) -> float:
    """Returns how long a small call takes; infinite without an answer, or with a wrong one."""
    executable, start = bench.executable("small"), perf_counter()
    (x,) = inputs_of(executable)
    try:
        outcome = await caller.run(executable, [x.tobytes()], wait_s=wait_s)
    except (trio.TooSlowError, JaxfsError):
        return float("inf")
    took_s = perf_counter() - start
    return took_s if np.array_equal(first_output(executable, outcome), x + x) else float("inf")


async def load_again(bench: Bench) -> Found:
    """An engine that is started again loads what the one before has compiled."""
    names = [name for name in NAMES if (bench.config.directory / f"{name}.json").exists()]
    first_s = await _load_all(bench, names)
    again_s = await _load_all(bench, names)
    cached = len(list(bench.config.cache_dir.glob("*")))
    figures = {"before_s": first_s, "again_s": again_s, "programs": len(names), "cached": cached}
    return Found(again_s < RELOAD_S, figures)


async def _load_all(bench: Bench, names: Sequence[str]) -> float:
    await bench.reset()
    caller, start = await bench.caller(), perf_counter()
    for name in names:
        await caller.engine.load(bench.executable(name))
    took_s = perf_counter() - start
    await bench.reset()
    return took_s


async def no_memory(bench: Bench) -> Found:
    """A run without enough memory is refused at once, and the engine goes on."""
    caller, start, refusal = await bench.caller(), perf_counter(), "none"
    await small_call_s(bench, caller, 60.0)
    pid = caller.engine.pid
    try:
        executable = await bench.loaded("huge")
        start = perf_counter()
        release_outputs(await caller.run(executable, [ONE], wait_s=15.0))
    except (JaxfsError, trio.TooSlowError, OSError) as error:
        took_s, is_space = perf_counter() - start, isinstance(error, NoSpace | OSError)
        refusal = f"{type(error).__name__}: {error}"[:200]
    else:
        took_s, is_space = perf_counter() - start, False
    lives = caller.engine.pid == pid and await small_call_s(bench, caller) < PATIENCE_S
    figures: dict[str, Value] = {"s": took_s, "refusal": refusal, "engine_lives": lives}
    return Found(is_space and took_s < REFUSAL_S and lives, figures)


@contextmanager
def memory_fraction(fraction: float) -> Iterator[None]:
    """Lets engines that start within the block have so much of the card."""
    before = {name: os.environ.pop(name, None) for name in ALLOCATORS}
    os.environ[ALLOCATORS[-1]] = str(fraction)
    try:
        yield
    finally:
        del os.environ[ALLOCATORS[-1]]
        os.environ.update({name: value for name, value in before.items() if value is not None})


async def cache_is_full(bench: Bench) -> Found:
    """Arrays that only wait on the device make room for a run that needs it."""
    is_cpu, pool = bench.config.platform == "cpu", Pool()
    limit = MADE_UP_LIMIT_BYTES if is_cpu else -1
    options = EngineOptions(platform=bench.config.platform, device_cache_bytes=limit)
    with memory_fraction(FRACTION):
        async with open_local_engine(options, pool) as engine:
            found = await _fill_and_run(bench, engine)
    pool.close()
    return found


async def _fill_and_run(bench: Bench, engine: LocalEngine) -> Found:
    caller, number = Caller(engine), engine.devices()[0].id
    h2d, long = bench.executable("h2d"), _filling(bench, await _limit_bytes(engine, number))
    await engine.load(h2d)
    producer, places = 1, list[Input]()
    resident = -1
    while True:  # until no more stay
        places = caller.place(inputs_of(h2d), producer)
        release_outputs(await caller.run(h2d, places))
        caller.forget(places)
        figures = (await engine.statistics())[number]
        if figures.get("resident_evicted", 0) or figures.get("resident_bytes", 0) == resident:
            break
        resident, producer = figures.get("resident_bytes", 0), producer + 1
    evicted = figures.get("resident_evicted", 0)
    start, error = perf_counter(), ""
    try:
        release_outputs(await caller.run(long, [np.int32(1).tobytes()], wait_s=30.0))
    except (JaxfsError, trio.TooSlowError) as failure:
        error = f"{type(failure).__name__}: {failure}"[:200]
    took_s, after = perf_counter() - start, (await engine.statistics())[number]
    found: dict[str, Value] = {
        "bytes_limit": figures.get("bytes_limit"),
        "resident_bytes": figures.get("resident_bytes"),
        "s": took_s,
        "evicted_by_it": after.get("resident_evicted", 0) - evicted,
        "error": error,
    }
    return Found(not error, found)


async def _limit_bytes(engine: LocalEngine, number: int) -> int:
    figures = (await engine.statistics())[number]
    return figures.get("bytes_limit", 2 * MADE_UP_LIMIT_BYTES)


def _filling(bench: Bench, limit_bytes: int) -> Executable:
    """Returns a program that needs 60 % of memory for an array that it carries through a loop."""
    # JAX is imported only here: the other checks of this process do without
    from benchmarks.gpu.executables import write_executable  # noqa: PLC0415
    from benchmarks.gpu.lowering import lower  # noqa: PLC0415
    from benchmarks.gpu.programs import filling  # noqa: PLC0415

    data, signature = lower(filling(int(0.6 * limit_bytes) // 4), bench.config.platform)
    return write_executable(bench.config.directory, "filling", data, signature)


async def endless_loop(bench: Bench) -> Found:
    """While a loop never ends, others run, and their programs compile."""
    caller = await bench.caller()
    await bench.loaded("small")
    endless = Started(caller.engine, await bench.loaded("endless"), [ODD])
    goes_on = not await endless.ended(2.0)
    figures: dict[str, Value] = {"goes_on": goes_on}
    figures["call_s"] = await small_call_s(bench, caller)
    start = perf_counter()
    with trio.move_on_after(COMPILE_S) as scope:
        await caller.engine.load(_fresh_product(bench))
    compiles = not scope.cancelled_caught
    figures |= {"compile_s": perf_counter() - start, "compiles": compiles}
    figures["call_after_s"] = await small_call_s(bench, caller)
    caller.engine.cancel(endless.number, kill=True)
    await bench.reset()
    met = (
        goes_on
        and compiles
        and max(_number(figures, "call_s"), _number(figures, "call_after_s")) < PATIENCE_S
    )
    return Found(met, figures)


def _number(figures: dict[str, Value], name: str) -> float:
    found = figures[name]
    return float(found) if isinstance(found, float) else float("inf")


def _fresh_product(bench: Bench) -> Executable:
    """Returns a product of matrices that no engine has compiled: it has to be tuned now."""
    from benchmarks.gpu.executables import write_executable  # noqa: PLC0415
    from benchmarks.gpu.lowering import lower  # noqa: PLC0415
    from benchmarks.gpu.programs import fresh_product  # noqa: PLC0415

    data, signature = lower(fresh_product(bench.sizes), bench.config.platform)
    return write_executable(bench.config.directory, "fresh", data, signature)


async def kill_endless(bench: Bench) -> Found:
    """A run that never ends is killed; the next call is answered by a new engine."""
    caller = await bench.caller()
    endless = Started(caller.engine, await bench.loaded("endless"), [ODD])
    goes_on, start = not await endless.ended(1.0), perf_counter()
    caller.engine.cancel(endless.number, kill=True)
    await trio.sleep(0.1)
    took_s = await small_call_s(bench, caller, 25.0)
    took_s = perf_counter() - start if took_s != float("inf") else took_s
    restarts, quarantined = caller.engine.restarts, len(caller.engine.quarantined)
    await bench.reset()
    figures: dict[str, Value] = {"s": took_s, "restarts": restarts, "quarantined": quarantined}
    return Found(goes_on and took_s < RESTART_S and not quarantined, figures)


async def statistics_behind_long(bench: Bench) -> Found:
    """The engine answers while 64 small calls wait behind a run of two seconds."""
    caller, small = await bench.caller(), await bench.loaded("small")
    long, engine = await bench.loaded("long"), caller.engine
    places = caller.place(inputs_of(long), 800)
    start = perf_counter()
    release_outputs(await caller.run(long, places))  # sent and compiled
    alone_s, start = perf_counter() - start, perf_counter()
    running = Started(engine, long, places)
    (x,) = inputs_of(small)
    calls = [Started(engine, small, [x.tobytes()]) for _ in range(64)]
    asked = perf_counter()
    await engine.statistics()
    answered_s = perf_counter() - asked
    await calls[-1].ended(PATIENCE_S)
    small_s = perf_counter() - start
    await running.ended(30.0)
    long_s = perf_counter() - start
    for one in (running, *calls):
        for outcome in one.outcomes:
            release_outputs(outcome)
    caller.forget(places, 800)
    figures: dict[str, Value] = {
        "statistics_s": answered_s,
        "small_s": small_s,
        "long_s": long_s,
        "first_long_s": alone_s,
    }
    return Found(answered_s < ANSWER_S, figures)


CHECKS = {
    "C1": load_again,
    "C2": no_memory,
    "C3": cache_is_full,
    "C4": endless_loop,
    "C5": kill_endless,
    "C6": statistics_behind_long,
}
