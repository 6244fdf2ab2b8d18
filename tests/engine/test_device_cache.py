"""Named arrays stay on the device.  Here that is a CPU, told to do as devices with memory do.

That the device's own copy was used is seen by changing the front's, which nobody else may do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
import trio

from jaxfs.engine.client.client import LocalEngine, open_local_engine
from jaxfs.engine.interface import Outcome, OutputRef, Range
from jaxfs.engine.protocol import EngineOptions
from jaxfs.ipc.shared_memory import Pool, Segment
from jaxfs.types.memory_layout import first_value
from tests.conftest import HANGS_S
from tests.engine.conftest import PLATFORM, Programs, Submitted, arrays_of

SOURCE = 7
LIMIT_BYTES = 100  # three arrays of 8 f32


def served(story: Callable[[LocalEngine], Awaitable[None]]) -> None:
    async def main() -> None:
        pool = Pool()
        options = EngineOptions(platform=PLATFORM, device_cache_bytes=LIMIT_BYTES)
        async with open_local_engine(options, pool) as engine:
            with trio.fail_after(HANGS_S):
                await story(engine)
        assert pool.used_bytes == 0
        pool.close()

    trio.run(main)


def filled(engine: LocalEngine, number: float) -> Segment:
    segment = engine.pool.take(4096)
    segment.write(0, np.full(8, number, "f4").tobytes())
    return segment


async def doubled(engine: LocalEngine, programs: Programs, place: Range) -> float:
    (found,) = await Submitted(engine, programs["f32"], [place]).arrays()
    assert len(set(found.tolist())) == 1
    return float(found[0])


async def figures(engine: LocalEngine) -> dict[str, int]:
    return (await engine.statistics())[0]


def test_named_array_is_sent_once(programs: Programs) -> None:
    async def story(engine: LocalEngine) -> None:
        with filled(engine, 1) as segment:
            place = Range(segment, 0, 32, first_value(SOURCE))
            assert await doubled(engine, programs, place) == 2
            segment.write(0, np.full(8, 5, "f4").tobytes())
            assert await doubled(engine, programs, place) == 2
            assert await doubled(engine, programs, Range(segment, 0, 32)) == 10
        found = await figures(engine)
        assert (found["resident_arrays"], found["resident_bytes"]) == (1, 32)
        assert found["resident_sent"] == 1

    served(story)


def test_output_stays_for_the_next_run(programs: Programs) -> None:
    async def story(engine: LocalEngine) -> None:
        ended, outcomes = trio.Event(), list[Outcome]()

        def done(outcome: Outcome) -> None:
            outcomes.append(outcome)
            if len(outcomes) == 2:
                ended.set()

        with filled(engine, 1) as segment, filled(engine, 0) as other:
            program = programs["f32"]
            number = engine.submit(program, (Range(segment, 0, 32),), done, shared_as=SOURCE)
            later = OutputRef(number, 0, 32, first_value(SOURCE))
            engine.submit(program, (later,), done)
            await ended.wait()
            assert [arrays_of(program, one)[0][0] for one in outcomes] == [2, 4]
            place = Range(other, 0, 32, first_value(SOURCE))
            assert await doubled(engine, programs, place) == 4
        assert (await figures(engine))["resident_sent"] == 0

    served(story)


def test_forgotten_array_is_gone_from_the_device(programs: Programs) -> None:
    async def story(engine: LocalEngine) -> None:
        with filled(engine, 1) as segment:
            place = Range(segment, 0, 32, first_value(SOURCE))
            assert await doubled(engine, programs, place) == 2
            engine.pool.forget(SOURCE)
            segment.write(0, np.full(8, 5, "f4").tobytes())
            assert await doubled(engine, programs, place) == 10

    served(story)


def test_array_not_used_for_longest_makes_room_and_comes_back(programs: Programs) -> None:
    async def story(engine: LocalEngine) -> None:
        with filled(engine, 1) as segment:
            for source in (1, 2, 3, 1, 4):  # 2 has to go
                place = Range(segment, 0, 32, first_value(source))
                assert await doubled(engine, programs, place) == 2
            found = await figures(engine)
            assert (found["resident_arrays"], found["resident_evicted"]) == (3, 1)
            segment.write(0, np.full(8, 5, "f4").tobytes())
            for source, right in ((1, 2), (3, 2), (4, 2), (2, 10)):
                place = Range(segment, 0, 32, first_value(source))
                assert await doubled(engine, programs, place) == right

    served(story)


def test_donated_input_does_not_take_the_array_that_stays(programs: Programs) -> None:
    async def story(engine: LocalEngine) -> None:
        with engine.pool.take(1 << 18) as segment:
            segment.write(0, np.ones(65536, "f4").tobytes())
            for _ in range(3):
                place = Range(segment, 0, 1 << 18, first_value(SOURCE))
                (found,) = await Submitted(engine, programs["donated"], [place]).arrays()
                assert set(found.tolist()) == {2.0}

    served(story)


@pytest.mark.parametrize("options", [EngineOptions(platform="cpu")])
def test_cpu_computes_in_shared_memory_itself(programs: Programs, options: EngineOptions) -> None:
    async def main() -> Any:
        pool = Pool()
        async with open_local_engine(options, pool) as engine:
            with filled(engine, 1) as segment:
                place = Range(segment, 0, 32, first_value(SOURCE))
                assert await doubled(engine, programs, place) == 2
            assert not pool.has_device_cache
            return await figures(engine)

    assert not {key for key in trio.run(main) if key.startswith("resident")}
