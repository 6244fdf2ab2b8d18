"""calls/<id>: a call is submitted by closing the file its inputs were written to."""

from __future__ import annotations

import os

import numpy as np
import pytest
import trio

from jaxfs.errors import (
    BrokenProgram,
    Cancelled,
    Invalid,
    JaxfsError,
    NameTaken,
    NoSpace,
    NotSupported,
    OverQuota,
    RunFailed,
)
from jaxfs.options import Options
from jaxfs.testing import FakeEngines
from tests.unmounted import ADD, ALICE, BIG, DOUBLE, PAIR, PARTIAL, UNTYPED, npy_of, serving

REQUEST = "[1, 2] [3, 4]"
SUM = b"[4.0, 6.0]\n"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("1", REQUEST.encode()),
        ("1.json", REQUEST.encode()),
        ("1", npy_of([1, 2], [3, 4])),
        ("1.npy", npy_of([1, 2], [3, 4])),
        ("1.raw", np.array([1, 2, 3, 4], "float32").tobytes()),
    ],
)
async def test_inputs_come_in_any_format(name: str, data: bytes) -> None:
    async with serving(add=ADD) as mount:
        await mount.client.write(f"programs/add/calls/{name}", data)
        assert await mount.client.read("results/1.json") == SUM


async def test_a_status_shows_the_call_from_submission_to_end() -> None:
    async with serving(add=ADD) as mount:
        mount.engine.hold()
        await mount.client.write("programs/add/calls/1.json", REQUEST)
        status = await mount.client.keyed("programs/add/calls/1.json")
        assert [status[key] for key in ("state", "program", "device", "output_bytes")] == [
            "running",
            "add",
            "cpu:0",
            "8",
        ]
        assert list(await mount.client.keyed("results/1.status")) == list(status)
        mount.engine.release()
        status = await mount.client.keyed("programs/add/calls/1")
        assert (status["state"], status["run_usec"], status["errno"]) == ("done", "10", "")


@pytest.mark.parametrize(
    ("request_text", "reason"),
    [
        ("[1, 2]", "expected 2 inputs"),
        ("[1, 2] [3, 4, 5]", "f32"),
        ("[1, 2] arrays/nothing", "there is no arrays/nothing"),
        ("[1, 2] results/1", "was not submitted"),
        ("[1, 2] elsewhere/w", "elsewhere"),
        ("[1, 2] arrays/w", "i32"),
        ("[1, 2] arrays/w.5", "there is no array '5'"),
        ("[1, 2] word", "word"),
    ],
)
async def test_wrong_inputs_are_refused_and_the_id_may_be_written_again(
    request_text: str, reason: str
) -> None:
    async with serving(add=ADD) as mount:
        await mount.client.write("arrays/w", "[1, 2]")
        with pytest.raises(Invalid, match=reason):
            await mount.client.write("programs/add/calls/1", request_text)
        assert reason in await mount.client.text("results/1.error")
        assert (await mount.client.keyed("programs/add/calls/1"))["state"] == "failed"
        with pytest.raises(RunFailed):
            await mount.client.read("results/1")
        await mount.client.write("programs/add/calls/1", REQUEST)
        assert await mount.client.read("results/1.json") == SUM
        assert mount.engine.pool.used_bytes == 0


@pytest.mark.parametrize("name", ["a.b", "1.exe", "1.txt", "1.npy.npy", "bad name"])
async def test_an_id_has_no_dot_and_may_end_in_an_input_format(name: str) -> None:
    async with serving(add=ADD) as mount:
        with pytest.raises(Invalid):
            await mount.client.write(f"programs/add/calls/{name}", REQUEST)


async def test_an_id_is_one_call_in_all_of_the_mount() -> None:
    async with serving(add=ADD, double=DOUBLE) as mount:
        await mount.client.write("programs/add/calls/1", REQUEST)
        for path in ("programs/double/calls/1", "programs/add/calls/1", "programs/add/calls/1.raw"):
            with pytest.raises(NameTaken):
                await mount.client.write(path, REQUEST)


async def test_a_call_submitted_twice_at_once_runs_once() -> None:
    async with serving(add=ADD) as mount:
        flags = os.O_CREAT | os.O_WRONLY
        first = await mount.client.open_file("programs/add/calls/1", flags)
        second = await mount.client.open_file("programs/add/calls/1", flags)
        await first.write(REQUEST.encode())
        await second.write(REQUEST.encode())
        await first.close()
        with pytest.raises(NameTaken, match="submitted already"):
            await second.close()


async def test_an_id_of_a_call_that_cannot_be_submitted_any_more_is_free() -> None:
    async with serving(add=ADD, double=DOUBLE) as mount:
        flags = os.O_CREAT | os.O_WRONLY
        file = await mount.client.open_file("programs/add/calls/1", flags)
        mount.client.unlink("programs/add.mlir")
        await mount.client.write("programs/double/calls/1", "[1, 2]")
        file.release()
        assert await mount.client.read("results/1.json") == b"[2.0, 4.0]\n"


async def test_a_failed_run_is_eio_with_its_reason_in_error() -> None:
    async with serving(add=ADD) as mount:
        mount.engine.functions["add"] = lambda x, y: x[5]
        await mount.client.write("programs/add/calls/1", REQUEST)
        with pytest.raises(RunFailed, match="IndexError"):
            await mount.client.read("results/1")
        assert "IndexError" in await mount.client.text("results/1.error")
        assert (await mount.client.keyed("results/1.status"))["errno"] == "EIO"
        assert mount.client.stat("results/1").size == 0


@pytest.mark.parametrize("error", [NoSpace("full"), NotSupported("no")])
async def test_any_error_of_a_run_is_eio_to_a_reader(error: JaxfsError) -> None:
    async with serving(add=ADD) as mount:
        mount.engine.hold()
        await mount.client.write("programs/add/calls/1", REQUEST)
        mount.engine.fail(error=error)
        with pytest.raises(RunFailed, match=error.reason):
            await mount.client.read("results/1")
        assert (await mount.client.keyed("results/1.status"))["errno"] == error.errno_name


async def test_a_call_survives_a_replacement_of_its_program() -> None:
    async with serving(add=ADD) as mount:
        mount.engine.hold()
        await mount.client.write("programs/add/calls/1", REQUEST)
        await mount.client.write("programs/add.mlir", DOUBLE)
        mount.client.unlink("programs/add.mlir")
        mount.engine.release()
        assert await mount.client.read("results/1.json") == SUM


async def test_calls_under_way_are_answered_after_the_engine_came_back() -> None:
    async with serving(add=ADD) as mount:
        mount.engine.die()
        await mount.client.write("programs/add/calls/1", REQUEST)
        mount.engine.restart()
        assert await mount.client.read("results/1.json") == SUM


async def test_a_large_call_goes_through_shared_memory_and_leaves_none() -> None:
    async with serving(big=BIG) as mount:
        data = np.arange(100_000, dtype="float32")
        await mount.client.write("programs/big/calls/1.raw", data.tobytes())
        assert await mount.client.read("results/1.raw") == (2 * data).tobytes()
        await mount.client.write("programs/big/calls/2", npy_of(data))
        text = await mount.client.text("results/2.txt")
        assert text.startswith("0.0 2.0 4.0 6.0 8.0")
        for result in ("results/1", "results/2"):
            mount.client.unlink(result)
        assert mount.engine.pool.used_bytes == 0


async def test_text_too_large_for_the_event_loop_is_read_in_a_thread() -> None:
    async with serving(big=BIG) as mount:
        text = str([0.5] * 100_000)
        await mount.client.write("programs/big/calls/1", text)
        assert (await mount.client.read("results/1.raw"))[:4] == np.float32(1).tobytes()


async def test_the_size_of_a_result_is_known_from_submission_on() -> None:
    async with serving(add=ADD) as mount:
        mount.engine.hold()
        await mount.client.write("programs/add/calls/1", REQUEST)
        assert mount.client.stat("results/1.raw").size == 8
        assert mount.client.stat("results/1.json").size == 0
        mount.engine.release()
        assert mount.client.stat("results/1.json").size == len(SUM)


async def test_results_have_a_share_of_memory_for_each_user_and_for_all() -> None:
    options = Options(max_result_bytes=1000, max_bytes_per_user=2300)
    request = bytes(800)
    async with serving(options, wide="add(x: f32[100], y: f32[100]) -> f32[100]") as mount:
        await mount.client.write("programs/wide/calls/1.raw", request)
        await mount.client.read("results/1")
        with pytest.raises(OverQuota, match="max_bytes_per_user"):
            await mount.client.write("programs/wide/calls/2.raw", request)
        await mount.user(ALICE).write("programs/wide/calls/3.raw", request)
        with pytest.raises(NoSpace, match="max_result_bytes"):
            await mount.user(0).write("programs/wide/calls/4.raw", request)
        mount.client.unlink("results/1")
        mount.client.unlink("results/2")
        await mount.client.write("programs/wide/calls/2.raw", request)


async def test_a_user_has_a_share_of_unfinished_calls() -> None:
    async with serving(Options(max_calls_per_user=1), add=ADD) as mount:
        mount.engine.hold()
        await mount.client.write("programs/add/calls/1", REQUEST)
        with pytest.raises(OverQuota, match="max_calls_per_user"):
            await mount.client.write("programs/add/calls/2", REQUEST)
        assert (await mount.client.keyed("results/2.status"))["errno"] == "EDQUOT"
        await mount.user(ALICE).write("programs/add/calls/3", REQUEST)
        mount.engine.release()
        await mount.client.write("programs/add/calls/2", REQUEST)


async def test_a_call_of_another_user_runs_in_that_users_engine() -> None:
    engines = FakeEngines(per_user=True)
    async with serving(engines=engines, add=ADD, big=BIG) as mount:
        for engine in (mount.engine, engines.of(ALICE)):
            engine.hold()
        await mount.user(ALICE).write("programs/add/calls/1", REQUEST)
        assert len(engines.of(ALICE).runs) == 1
        assert not mount.engine.runs
        engines.of(ALICE).release()
        mount.engine.release()
        await mount.client.write("programs/big/calls/2.raw", bytes(400_000))
        await mount.user(ALICE).write("programs/big/calls/3", "results/2")
        assert len(await mount.client.read("results/3.raw")) == 400_000


@pytest.mark.parametrize("inputs", ["[1, 2]", "2.5"])
async def test_a_call_of_an_untyped_program_makes_its_specialization_once(inputs: str) -> None:
    async with serving(twice=UNTYPED) as mount:
        for name in ("1", "2"):
            await mount.client.write(f"programs/twice/calls/{name}", inputs)
        assert await mount.client.read("results/1.json") == await mount.client.read(
            "results/2.json"
        )
        assert mount.compiler.count("compile") == 1


async def test_types_that_do_not_fit_what_is_known_are_refused() -> None:
    async with serving(sums=PARTIAL) as mount:
        with pytest.raises(Invalid, match="dimension 0"):
            await mount.client.write("programs/sums/calls/1", npy_of([1, 2], [1, 2, 3]))
        with pytest.raises(Invalid, match="f64"):
            await mount.client.write("programs/sums/calls/2", npy_of([1], [2], dtype="float64"))
        await mount.client.write("programs/sums/calls/3", npy_of([1, 2], [3, 4]))
        assert await mount.client.read("results/3.json") == SUM


async def test_a_specialization_that_cannot_be_made_fails_the_call_with_the_reason() -> None:
    async with serving(twice=UNTYPED) as mount:
        mount.compiler.fail("trace", Invalid("shapes do not fit"))
        await mount.client.write("arrays/w", npy_of([1, 2]))
        with pytest.raises(Invalid, match="shapes do not fit"):
            await mount.client.write("programs/twice/calls/1", "arrays/w")
        mount.client.unlink("arrays/w")
        assert (await mount.client.keyed("health"))["result_bytes"] == "0"


async def test_a_call_interrupted_while_its_specialization_is_made_submits_nothing() -> None:
    async with serving(twice=UNTYPED) as mount:
        mount.compiler.hold("compile")
        with trio.move_on_after(0):
            await mount.client.write("programs/twice/calls/1", "[1, 2]")
        mount.compiler.release("compile")
        assert mount.client.ls("results") == []


async def test_a_result_of_a_program_that_is_gone_can_still_be_read() -> None:
    async with serving(pair=PAIR) as mount:
        await mount.client.write("programs/pair/calls/1", "[1, 2] 3")
        mount.client.unlink("programs/pair.mlir")
        assert await mount.client.read("results/1.p.w.json") == b"[1.0, 2.0]\n"


async def test_a_call_of_a_transformation_that_is_impossible_reports_it() -> None:
    async with serving(double=DOUBLE) as mount:
        mount.compiler.fail("trace", NotSupported("grad needs a scalar"))
        with pytest.raises(NotSupported, match="scalar"):
            await mount.client.write("transformations/grad/double/calls/1", "[1, 2]")


async def test_a_call_of_a_transformation_of_a_broken_program_is_refused() -> None:
    async with serving() as mount:
        with pytest.raises(Invalid):
            await mount.client.write("programs/bad.mlir", "no program")
        with pytest.raises(BrokenProgram):
            await mount.client.write("transformations/grad/bad/calls/1", "[1, 2]")


async def test_a_removed_call_is_not_submitted_by_the_close_that_comes_too_late() -> None:
    async with serving(big=BIG) as mount:
        file = await mount.client.open_file("programs/big/calls/1", os.O_CREAT | os.O_WRONLY)
        await file.write(str([0.5] * 100_000).encode())

        async def close() -> None:
            with pytest.raises(Cancelled, match="before it was submitted"):
                await file.close()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(close)
            await trio.lowlevel.checkpoint()
            mount.client.unlink("programs/big/calls/1")
        assert mount.engine.pool.used_bytes == 0


async def test_a_name_with_a_dot_is_refused_with_one_to_take() -> None:
    async with serving(add=ADD) as mount:
        for path in ("programs/add/calls/2024.01.02", "arrays/2024.01.02"):
            with pytest.raises(Invalid, match=r"have no dot, take '2024_01_02'"):
                await mount.client.write(path, REQUEST)
        assert (await mount.client.text("error_log")).count("take '2024_01_02'") == 2
