"""Errors that objects keep: their words, and nothing of the frames that they passed."""

from __future__ import annotations

import contextlib
import gc
import tracemalloc

import numpy as np
import pytest
import trio
from numpy.typing import NDArray

from jaxfs.errors import (
    MAX_DIAGNOSTICS_CHARS,
    MAX_REASON_CHARS,
    Invalid,
    JaxfsError,
    NoSpace,
    RunFailed,
)
from jaxfs.testing.in_process import InProcessMount, open_vfs

ADD = "add(x: f32[2], y: f32[2]) -> f32[2]"
REFUSED = b"[1, 2] [" + b" " * 2_000_000 + b"7,]"  # no JSON
COUNT = 4
GROWTH_BYTES = 1 << 20  # less than one of the uploads


async def refuse_calls(mount: InProcessMount) -> None:
    await mount.client.write("programs/add.mlir", ADD)
    for number in range(COUNT):
        with pytest.raises(JaxfsError):
            await mount.client.write(f"programs/add/calls/{number}", REFUSED)


async def refuse_arrays(mount: InProcessMount) -> None:
    for number in range(COUNT):
        with pytest.raises(JaxfsError):
            await mount.client.write(f"arrays/w{number}", REFUSED)


async def refuse_programs(mount: InProcessMount) -> None:
    for number in range(COUNT):
        with pytest.raises(JaxfsError):
            await mount.client.write(f"programs/f{number}.mlir", b"(" * len(REFUSED))


async def fail_runs(mount: InProcessMount) -> None:
    await mount.client.write("programs/big.mlir", "add(x: f32[500000], y: f32[500000]) -> f32[2]")
    mount.engine.functions["add"] = _raising
    for number in range(COUNT):
        await mount.client.write(f"programs/big/calls/{number}.raw", bytes(4_000_000))
        with pytest.raises(RunFailed):
            await mount.client.read(f"results/{number}")


def _raising(*_inputs: object) -> NDArray[np.generic]:
    raise RunFailed("the run failed, as the test wants")


async def refuse_through_one_open_file(mount: InProcessMount) -> None:
    await mount.client.write("programs/add.mlir", ADD)
    for number in range(COUNT):
        file = await mount.client.open_file(f"programs/add/calls/{number}", 0o101)
        with contextlib.suppress(JaxfsError):
            await file.write(REFUSED)
            await file.flush()
        with pytest.raises(JaxfsError):
            await file.flush()
        file.release()


SCENARIOS = (
    refuse_calls,
    refuse_arrays,
    refuse_programs,
    fail_runs,
    refuse_through_one_open_file,
)


async def forget_threads() -> None:
    """Trio keeps the last result of a thread until the thread has another one."""
    await trio.to_thread.run_sync(int)
    await trio.lowlevel.checkpoint()


async def kept_errors() -> list[JaxfsError]:
    await forget_threads()
    gc.collect()
    return [found for found in gc.get_objects() if isinstance(found, JaxfsError)]


async def kept_since(before: list[JaxfsError]) -> list[JaxfsError]:
    """Other tests have errors too, of which pytest keeps some."""
    known = set(map(id, before))
    return [error for error in await kept_errors() if id(error) not in known]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_kept_errors_lead_to_no_frames(scenario: object) -> None:
    assert callable(scenario)
    async with open_vfs() as mount:
        before = await kept_errors()
        await scenario(mount)
        kept = await kept_since(before)
        assert kept, "the scenario leaves no error behind"
        for error in kept:
            assert error.__traceback__ is None
            assert error.__context__ is None
            assert error.__cause__ is None


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_refused_requests_keep_no_memory_of_the_front(scenario: object) -> None:
    assert callable(scenario)
    async with open_vfs() as mount:
        gc.collect()
        tracemalloc.start()
        try:
            await scenario(mount)
            await forget_threads()
            gc.collect()
            grown, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert grown < GROWTH_BYTES


async def test_error_read_many_times_does_not_grow() -> None:
    async with open_vfs() as mount:
        before = await kept_errors()
        await refuse_calls(mount)
        for _ in range(10):
            with pytest.raises(JaxfsError):
                await mount.client.read("results/0")
        assert all(error.__traceback__ is None for error in await kept_since(before))


def test_words_of_an_error_are_bounded() -> None:
    error = Invalid("r" * (10 * MAX_REASON_CHARS), "d" * (10 * MAX_DIAGNOSTICS_CHARS))
    assert len(error.text()) < MAX_REASON_CHARS + MAX_DIAGNOSTICS_CHARS + 200
    assert "more characters" in error.reason


def test_recorded_error_has_the_words_and_the_kind() -> None:
    with pytest.raises(NoSpace) as raised:
        _raise_with_a_cause()
    copy = raised.value.recorded()
    assert (type(copy), copy.text()) == (NoSpace, "ENOSPC: no room\n\ndetails\n")
    assert copy.__traceback__ is None
    assert copy.__cause__ is None
    assert copy.__context__ is None


def _raise_with_a_cause() -> None:
    raise NoSpace("no room", "details") from ValueError("cause")
