"""What the engine computes is right, whatever the types, and wherever the arrays stand."""

from __future__ import annotations

import mmap
import random
import subprocess
import sys

import numpy as np
import pytest
import trio
import trio.testing

from jaxfs.engine.client.client import LocalEngine
from jaxfs.engine.interface import Executable, Range
from jaxfs.errors import NoSpace, RunFailed
from jaxfs.ipc.channel import INLINE_BYTES
from jaxfs.ipc.shared_memory import Pool
from jaxfs.types.avals import BY_SHORT
from jaxfs.types.memory_layout import output_offsets
from tests.engine.conftest import (
    PLATFORM,
    Programs,
    SharedEngine,
    Submitted,
    arrays_of,
    call,
    run_with_engine,
    submit,
)
from tests.engine.programs import DEVICES, DTYPES, LINALG, MANY


@pytest.mark.parametrize("short", DTYPES)
def test_every_kind_of_dtype_is_computed_bit_for_bit(
    shared: SharedEngine, programs: Programs, short: str
) -> None:
    dtype = BY_SHORT[short].numpy
    x = np.array([0, 1, 1, 0, 2, 3, 2, 1]).astype(dtype)
    (found,) = shared.call(programs[short], x)
    wanted = (x | x) if short == "bool" else (x + x).astype(dtype)
    assert found.tobytes() == wanted.tobytes()


def test_negative_int4_leave_as_sign_extended_bytes(
    shared: SharedEngine, programs: Programs
) -> None:
    x = np.array([-1, -2, -3, -4, 1, 2, 3, 0]).astype(BY_SHORT["i4"].numpy)
    (found,) = shared.call(programs["i4"], x)
    assert found.view(np.int8).tolist() == [-2, -4, -6, -8, 2, 4, 6, 0]


def test_several_outputs_stand_at_their_offsets(shared: SharedEngine, programs: Programs) -> None:
    x, y = np.arange(3, dtype="f4"), np.arange(5, dtype="i1")
    negated, doubled, constant = shared.call(programs["several"], x, y)
    assert negated.tolist() == [0, -1, -2, -3, -4]
    assert doubled.tolist() == [0, 2, 4]
    assert constant == 2.5


def test_scalars_empty_arrays_and_no_inputs(shared: SharedEngine, programs: Programs) -> None:
    assert shared.call(programs["scalar"], np.float32(4))[0] == 8
    assert shared.call(programs["empty"], np.zeros((0, 4), "f4"))[0].shape == (0, 4)
    assert shared.call(programs["no_inputs"])[0].tolist() == [0, 1, 2, 3]
    assert shared.call(programs["no_outputs"], np.zeros(4, "i4")) == []


@pytest.mark.parametrize("name", LINALG)
def test_library_calls_run_in_a_process_that_never_traced_them(
    shared: SharedEngine, programs: Programs, name: str
) -> None:
    saved = np.load(programs.directory / f"{name}.npz")
    inputs = [saved[key] for key in saved if key.startswith("in")]
    wanted = [saved[key] for key in saved if key.startswith("out")]
    found = shared.call(programs[name], *inputs)
    assert len(found) == len(wanted) > 0
    for left, right in zip(found, wanted, strict=True):
        assert left.dtype == right.dtype
        _assert_close(name, left, right)


def _assert_close(name: str, left: np.ndarray, right: np.ndarray) -> None:
    """The libraries of other platforms choose other signs of vectors, and other orders of sums."""
    if PLATFORM == "cpu":
        np.testing.assert_allclose(left, right, rtol=1e-12)
    elif name in ("eigh", "qr", "svd"):
        np.testing.assert_allclose(np.abs(left), np.abs(right), rtol=1e-9, atol=1e-12)
    else:
        np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-12)


def test_first_custom_call_of_a_process_finds_its_library(programs: Programs) -> None:
    """In the shared engine an earlier test could have loaded it."""

    async def test(engine: LocalEngine, pool: Pool) -> None:
        saved = np.load(programs.directory / "eigh.npz")
        found = await call(engine, programs["eigh"], saved["in0"])
        _assert_close("eigh", found[0], saved["out0"])
        assert engine.restarts == 0

    run_with_engine(test)


async def _run_in_memory(engine: LocalEngine, pool: Pool, executable: Executable) -> None:
    nbytes = 64 << 20
    segment = pool.take(nbytes)
    with mmap.mmap(segment.fd, nbytes) as mapping:
        x = np.frombuffer(mapping, "f4")
        x[:] = np.arange(16 << 20, dtype="f4")
        outcome = await Submitted(engine, executable, [Range(segment, 0, nbytes)]).outcome()
        (found,) = arrays_of(executable, outcome)
        np.testing.assert_array_equal(found, 2 * x)
        assert x[7] == 7
        del x
    segment.release()


def test_64_mebibytes_go_in_and_out_through_shared_memory(
    shared: SharedEngine, programs: Programs
) -> None:
    shared.run(_run_in_memory, shared.pool, programs["big"])
    assert shared.pool.used_bytes == 0


def test_an_output_of_another_shape_than_the_programs_is_refused(
    shared: SharedEngine, programs: Programs
) -> None:
    """XLA makes one bool of a bit cast of i8 to eight i1; it was broadcast over the result."""
    for _ in range(2):
        with pytest.raises(RunFailed, match=r"output 0 as bool\[\], and the program has bool\[8\]"):
            shared.call(programs["bits"], np.int8(5))


def test_a_donated_input_is_left_as_it_was(shared: SharedEngine, programs: Programs) -> None:
    """A retry after the engine's death needs the inputs."""

    async def run(engine: LocalEngine) -> bytes:
        with shared.pool.take(1 << 18) as segment:
            segment.write(0, np.ones(65536, "f4").tobytes())
            run = Submitted(engine, programs["donated"], [Range(segment, 0, 1 << 18)])
            (found,) = await run.arrays()
            assert set(found.tolist()) == {2.0}
            return segment.read(0, 1 << 18)

    assert set(np.frombuffer(shared.run(run), "f4").tolist()) == {1.0}


@pytest.mark.parametrize("offset", [0, 64, 4, 1])
def test_inputs_may_stand_at_any_offset(
    shared: SharedEngine, programs: Programs, offset: int
) -> None:
    async def run(engine: LocalEngine) -> list[float]:
        with shared.pool.take(4096) as segment:
            segment.write(offset, np.arange(8, dtype="f4").tobytes())
            (found,) = await Submitted(
                engine, programs["f32"], [Range(segment, offset, 32)]
            ).arrays()
            values: list[float] = found.tolist()
            return values

    assert shared.run(run) == [0, 2, 4, 6, 8, 10, 12, 14]


def test_many_small_inputs_take_the_way_through_memory(
    shared: SharedEngine, programs: Programs
) -> None:
    inputs = [np.full(256, i, "f4") for i in range(MANY)]
    assert sum(x.nbytes for x in inputs) > 4 * INLINE_BYTES
    (found,) = shared.call(programs["sum_many"], *inputs)
    assert set(found.tolist()) == {sum(range(MANY))}
    assert shared.pool.used_bytes == 0


def test_an_executable_runs_on_its_device(shared: SharedEngine, programs: Programs) -> None:
    devices = shared.engine.devices()
    assert [device.name for device in devices] == [f"cpu:{i}" for i in range(DEVICES)]
    (found,) = shared.call(programs["on_device_3"], np.ones(8, "f4"))
    assert set(found.tolist()) == {2.0}
    wrong = programs.executable("on_device_3", key="on the wrong one", device_ids=(1,))
    with pytest.raises(RunFailed):
        shared.call(wrong, np.ones(8, "f4"))


def test_the_engine_compiles_an_artifact_itself(shared: SharedEngine, programs: Programs) -> None:
    artifact = programs.executable(
        "f32", key="artifact", path=str(programs.directory / "f32.artifact"), serialized=False
    )
    shared.run(LocalEngine.load, artifact)
    (found,) = shared.call(artifact, np.ones(8, "f4"))
    assert set(found.tolist()) == {2.0}


@pytest.mark.parametrize("serialized", [True, False])
def test_an_executable_runs_on_several_devices(
    shared: SharedEngine, programs: Programs, serialized: bool
) -> None:
    spread = programs["spread"]
    if not serialized:  # as on platforms whose compiler needs the devices
        path = str(programs.directory / "spread.artifact")
        changes = {"key": "spread artifact", "path": path, "serialized": False}
        spread = programs.executable("spread", device_ids=(0, 1, 2, 3), **changes)
    x = np.arange(8, dtype="f4")
    doubled, total = shared.call(spread, x)
    np.testing.assert_array_equal(doubled, 2 * x)
    assert total == 2 * x.sum()


def test_a_file_that_is_no_executable_fails_its_calls_and_nothing_else(
    shared: SharedEngine, programs: Programs
) -> None:
    path = programs.directory / "garbage"
    path.write_bytes(random.Random(0).randbytes(1000))
    garbage = programs.executable("f32", key="garbage", path=str(path))
    missing = programs.executable("f32", key="missing", path=str(path) + ".missing")
    for broken in (garbage, missing):
        with pytest.raises(RunFailed):
            shared.call(broken, np.ones(8, "f4"))
        with pytest.raises(RunFailed):
            shared.run(LocalEngine.load, broken)
    assert shared.call(programs["f32"], np.ones(8, "f4"))[0][0] == 2
    assert shared.engine.restarts == 0


def test_what_the_engine_compiles_comes_with_the_compilers_figures(
    shared: SharedEngine, programs: Programs
) -> None:
    path = str(programs.directory / "f32.artifact")
    artifact = programs.executable("f32", key="figures", path=path, serialized=False)
    found = shared.run(LocalEngine.load, artifact)
    assert found.compile_usec > 0
    assert found.cost["flops"] > 0
    assert {"temp_bytes", "argument_bytes"} <= found.memory.keys()
    assert shared.run(LocalEngine.load, programs["f32"]) is None


def test_running_out_of_memory_is_enospc_with_the_numbers(
    shared: SharedEngine, programs: Programs
) -> None:
    with pytest.raises(NoSpace, match=r"RESOURCE_EXHAUSTED.*1099511627776"):
        shared.call(programs["too_big"], np.int8(1))
    assert shared.pool.used_bytes == 0


def test_1000_pipelined_calls_are_each_answered_once_with_their_own_result(
    shared: SharedEngine, programs: Programs
) -> None:
    async def run(engine: LocalEngine) -> None:
        runs = [submit(engine, programs["f32"], np.full(8, i, "f4")) for i in range(1000)]
        for i, one in enumerate(runs):
            assert (await one.arrays())[0].tolist() == [2.0 * i] * 8
        await trio.testing.wait_all_tasks_blocked()
        assert all(len(one.outcomes) == 1 for one in runs)

    shared.run(run)


def test_8_clients_at_once_get_their_own_results(shared: SharedEngine, programs: Programs) -> None:
    executable = programs["donated"]
    assert output_offsets(executable.signature)[1] > INLINE_BYTES

    async def client(engine: LocalEngine, number: int) -> None:
        for i in range(10):
            value = 100 * number + i
            with shared.pool.take(1 << 18) as segment:
                segment.write(0, np.full(65536, value, "f4").tobytes())
                run = Submitted(engine, executable, [Range(segment, 0, 1 << 18)])
            (found,) = await run.arrays()
            assert set(found.tolist()) == {2.0 * value}

    async def run(engine: LocalEngine) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(client, engine, number)

    shared.run(run)
    assert shared.pool.used_bytes == 0


def test_poll_takes_an_answer_without_a_turn_of_the_event_loop(
    shared: SharedEngine, programs: Programs
) -> None:
    async def run(engine: LocalEngine) -> None:
        one = submit(engine, programs["f32"], np.ones(8, "f4"))
        while not one.outcomes:
            engine.poll(1.0)
        assert (await one.arrays())[0][0] == 2

    shared.run(run)


def test_statistics_name_every_device(shared: SharedEngine) -> None:
    assert set(shared.run(LocalEngine.statistics)) == set(range(DEVICES))


def test_the_front_side_imports_no_jax() -> None:
    code = (
        "import sys, jaxfs.engine.client.client; "
        "sys.exit(any(m.split('.')[0] in ('jax', 'jaxlib') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
