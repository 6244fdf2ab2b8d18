"""Calls of an engine through its client, as a conversation with an open file makes them."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Any

import numpy as np
import trio
from numpy.typing import NDArray

from jaxfs.engine.client.client import LocalEngine
from jaxfs.engine.interface import Executable, Input, Outcome, OutputRef, Range
from jaxfs.types.avals import Aval
from jaxfs.types.memory_layout import first_value, output_offsets

Array = NDArray[Any]
BUSY_S = 0.5  # an answer is waited for busily for so long, as by the fast path
TURN_S = 0.001
INLINE_BYTES = 4096
COMPARED = 65536  # elements of an output


class Caller:
    """One engine, with what calls of it need.

    Attributes:
        engine: The engine.
    """

    def __init__(self, engine: LocalEngine) -> None:
        self.engine = engine

    async def run(
        self,
        executable: Executable,
        inputs: Sequence[Input | OutputRef],
        *,
        wait_s: float = 60.0,
        shared_as: int = 0,
        user: int = 0,
    ) -> Outcome:
        """Runs a program once.

        Raises:
            JaxfsError: The run failed.
            trio.TooSlowError: There is no answer after ``wait_s`` seconds.
        """
        ended, outcomes = trio.Event(), list[Outcome]()

        def done(outcome: Outcome) -> None:
            outcomes.append(outcome)
            ended.set()

        self.engine.submit(executable, tuple(inputs), done, shared_as=shared_as, user=user)
        busy_until = perf_counter() + min(BUSY_S, wait_s)
        while not outcomes and perf_counter() < busy_until and self.engine.pid:
            self.engine.poll(TURN_S)
        with trio.fail_after(wait_s):
            await ended.wait()
        if outcomes[0].error is not None:
            raise outcomes[0].error
        return outcomes[0]

    async def seconds(self, executable: Executable, inputs: Sequence[Input]) -> float:
        """Returns how long one run takes; its outputs are not read."""
        start = perf_counter()
        release_outputs(await self.run(executable, inputs))
        return perf_counter() - start

    async def median_s(
        self, executable: Executable, inputs: Sequence[Input], count: int, budget_s: float = 6.0
    ) -> float:
        """Returns the median of ``count`` runs, or of those that end within ``budget_s``."""
        return await median_s(lambda: self.seconds(executable, inputs), count, budget_s)

    def place(self, arrays: Sequence[Array], producer: int = 0) -> list[Input]:
        """Returns inputs: small ones as bytes, the others in shared memory.

        Args:
            arrays: The inputs.
            producer: A number if they have names, so that they stay on the device.
        """
        found: list[Input] = []
        for index, array in enumerate(arrays):
            if array.nbytes <= INLINE_BYTES and not producer:
                found.append(array.tobytes())
                continue
            segment = self.engine.pool.take(array.nbytes)
            segment.write(0, np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
            value = first_value(producer) + index if producer else 0
            found.append(Range(segment, 0, array.nbytes, value))
        return found

    def forget(self, inputs: Sequence[Input], *producers: int) -> None:
        """Releases inputs, and lets the engine drop what it keeps of producers."""
        for one in inputs:
            if isinstance(one, Range):
                one.segment.release()
        for producer in producers:
            self.engine.pool.forget(producer)


def release_outputs(outcome: Outcome) -> None:
    """Gives the memory of a run's outputs back."""
    if isinstance(outcome.outputs, Range):
        outcome.outputs.segment.release()


def first_output(executable: Executable, outcome: Outcome) -> Array:
    """Returns the first elements of a run's first output, and gives its memory back."""
    aval: Aval = executable.signature.output_avals[0]
    offsets, _ = output_offsets(executable.signature)
    data = outcome.outputs
    dtype = aval.row.numpy
    count = min(COMPARED, max(1, aval.nbytes // dtype.itemsize))
    if isinstance(data, Range):
        found = data.segment.read(data.offset + offsets[0], count * dtype.itemsize)
        data.segment.release()
        return np.frombuffer(found, dtype, count)
    return np.frombuffer(data, dtype, count, offsets[0])


async def median_s(
    call: Callable[[], Awaitable[float]], count: int, budget_s: float = 6.0
) -> float:
    """Returns the median of the seconds that calls return, one at least."""
    end, times = perf_counter() + budget_s, list[float]()
    while len(times) < count and (perf_counter() < end or not times):
        times.append(await call())
    await trio.lowlevel.checkpoint()
    return statistics.median(times)
