"""Named arrays stay on a GPU."""

from __future__ import annotations

import numpy as np

from jaxfs.engine.client.client import LocalEngine
from jaxfs.engine.interface import Range
from jaxfs.types.memory_layout import first_value
from tests.engine import test_device_cache as cache
from tests.engine.conftest import Programs, SharedEngine, Submitted
from tests.gpu.conftest import GPU, REAL

pytestmark = GPU
PRODUCER = 77

test_sent_once = cache.test_named_array_is_sent_once
test_output_stays = cache.test_output_stays_for_the_next_run
test_makes_room = cache.test_array_not_used_for_longest_makes_room_and_comes_back
test_donated = cache.test_donated_input_does_not_take_the_array_that_stays


@REAL
def test_half_of_the_memory_is_for_named_arrays_by_default(
    shared: SharedEngine, programs: Programs
) -> None:
    async def run(engine: LocalEngine) -> tuple[list[dict[str, int]], list[float]]:
        figures, found = [], list[float]()
        number = engine.devices()[0].id
        with engine.pool.take(4096) as segment:
            segment.write(0, np.ones(8, "f4").tobytes())
            for _ in range(3):
                figures.append((await engine.statistics())[number])
                place = Range(segment, 0, 32, first_value(PRODUCER))
                (array,) = await Submitted(engine, programs["f32"], [place]).arrays()
                found.append(float(array[0]))
        figures.append((await engine.statistics())[number])
        engine.pool.forget(PRODUCER)
        return figures, found

    figures, found = shared.run(run)
    assert found == [2.0, 2.0, 2.0]
    assert figures[-1]["resident_sent"] - figures[0]["resident_sent"] == 1
    assert figures[-1]["bytes_limit"] > 0
