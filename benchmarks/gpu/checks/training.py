"""B6 and B7: a training loop, and the engine's own memory afterwards."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from time import perf_counter

import trio

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.caller import Caller, release_outputs
from benchmarks.gpu.config import MIB
from benchmarks.gpu.executables import inputs_of
from benchmarks.gpu.outcomes import Found, Value
from jaxfs.engine.interface import Executable, Outcome, OutputRef, Range
from jaxfs.types.memory_layout import first_value

CHAIN_RATIO = 1.3
EACH_S = 0.5e-3
GROWTH_MIB = 100
CHAIN_WAIT_S = 60.0
FIRST_PRODUCER, PRODUCERS = 1000, 500


def anonymous_bytes(pid: int) -> int:
    """Returns the memory that a process has for itself, shared memory not counted."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("RssAnon:")[2].split()[0]) << 10


async def _chain_s(caller: Caller, executable: Executable, steps: int, producer: int) -> float:
    """Returns the seconds of a step when all are submitted at once, each on the one before."""
    places = caller.place(inputs_of(executable), producer)
    nbytes = executable.signature.input_avals[0].nbytes
    outcomes, ended = list[Outcome](), trio.Event()

    def done(outcome: Outcome) -> None:
        outcomes.append(outcome)
        if len(outcomes) == steps:
            ended.set()

    last: Range | OutputRef | bytes = places[0]
    start = perf_counter()
    for number in range(producer + 1, producer + 1 + steps):
        run = caller.engine.submit(executable, (last,), done, shared_as=number)
        last = OutputRef(run, 0, nbytes, first_value(number))  # no run ends before the next poll
    with trio.fail_after(CHAIN_WAIT_S):
        await ended.wait()
    took_s = (perf_counter() - start) / steps
    for outcome in outcomes:
        release_outputs(outcome)
    caller.forget(places, *range(producer, producer + 1 + steps))
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    if errors:
        raise errors[0]
    return took_s


async def _each_s(caller: Caller, executable: Executable, steps: int, producer: int) -> float:
    """Returns the seconds of a step when each is waited for, as in a shell."""
    places = caller.place(inputs_of(executable), producer)
    start = perf_counter()
    for number in range(producer + 1, producer + 1 + steps):
        outcome = await caller.run(executable, places, shared_as=number)
        caller.forget(places, number - 1)
        found = outcome.outputs
        assert isinstance(found, Range)
        places = [Range(found.segment, found.offset, found.nbytes, first_value(number))]
    took_s = (perf_counter() - start) / steps
    caller.forget(places, producer + steps)
    return took_s


async def _train(bench: Bench, program: str, *, waits: bool, first: int) -> Found:
    executable, caller = await bench.loaded(program), await bench.caller()
    plain_s = bench.plain("train.step_s")
    step_s = _each_s if waits else _chain_s
    for turn in range(2):  # the first writes fresh pages
        producer = FIRST_PRODUCER + (2 * first + turn) * PRODUCERS
        took_s = await step_s(caller, executable, bench.sizes.steps, producer)
    ratio = took_s / plain_s
    figures = {"step_ms": took_s * 1e3, "plain_ms": plain_s * 1e3, "ratio": ratio}
    return Found(took_s <= EACH_S if waits else ratio <= CHAIN_RATIO, figures)


async def memory_kept(bench: Bench) -> Found:
    """Arrays are kept on the device; the engine should have no copy of its own of them."""
    executable, caller = await bench.loaded("d2h"), await bench.caller()
    engine, places = caller.engine, caller.place(inputs_of(executable))
    release_outputs(await caller.run(executable, places))  # its buffers are there
    before = anonymous_bytes(engine.pid)
    numbers = range(9 * PRODUCERS, 9 * PRODUCERS + bench.sizes.kept)
    for number in numbers:
        release_outputs(await caller.run(executable, places, shared_as=number))
    growth = (anonymous_bytes(engine.pid) - before) / MIB
    cached = (await engine.statistics()).get(engine.devices()[0].id, {})
    caller.forget(places, *numbers)
    figures: dict[str, Value] = {"growth_mib": growth, "rss_mib": before / MIB}
    names = ("resident_arrays", "resident_bytes", "bytes_in_use")
    return Found(growth < GROWTH_MIB, {**figures, **{name: cached.get(name) for name in names}})


CHECKS = {
    "B6": partial(_train, program="step", waits=False, first=0),
    "B6e": partial(_train, program="step", waits=True, first=1),
    "B6d": partial(_train, program="step_donated", waits=False, first=2),
    "B7": memory_kept,
}
