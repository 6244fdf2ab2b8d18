"""Calls whose inputs are arrays and results of other calls."""

from __future__ import annotations

import os

import numpy as np
import pytest
import trio
import trio.testing

from jaxfs.errors import Invalid, RunFailed
from jaxfs.testing import FakeEngines
from tests.unmounted import ADD, ALICE, BIG, DOUBLE, PAIR, npy_of, serving


async def test_a_chain_of_calls_is_submitted_before_any_has_ended() -> None:
    async with serving(double=DOUBLE) as mount:
        mount.engine.hold()
        await mount.client.write("programs/double/calls/0", "[1, 2]")
        for number in range(1, 20):
            await mount.client.write(f"programs/double/calls/{number}", f"results/{number - 1}")
        assert len(mount.engine.runs) == 20
        mount.engine.release()
        assert await mount.client.read("results/19.json") == b"[1048576.0, 2097152.0]\n"


async def test_a_failed_call_fails_those_that_take_its_outputs() -> None:
    async with serving(double=DOUBLE) as mount:
        mount.engine.hold()
        await mount.client.write("programs/double/calls/0", "[1, 2]")
        await mount.client.write("programs/double/calls/1", "results/0")
        mount.engine.fail(error=RunFailed("out of luck"))
        mount.engine.release()
        with pytest.raises(RunFailed, match="its input results/0 failed: out of luck"):
            await mount.client.read("results/1")
        with pytest.raises(RunFailed):
            await mount.client.write("programs/double/calls/2", "results/0")


async def test_a_removed_result_is_still_made_for_the_calls_that_wait_for_it() -> None:
    async with serving(double=DOUBLE) as mount:
        mount.engine.hold()
        await mount.client.write("programs/double/calls/0", "[1, 2]")
        await mount.client.write("programs/double/calls/1", "results/0")
        async with mount.client.open("programs/double/call", os.O_RDWR) as file:
            await file.write(b"results/0\n")
            mount.client.unlink("results/0")
            assert mount.client.ls("results") == ["1"]
            assert len(mount.engine.runs) == 3
            mount.engine.release()
            assert await file.read() == b"[4.0, 8.0]\n"
        assert await mount.client.read("results/1.json") == b"[4.0, 8.0]\n"
        mount.client.unlink("results/1")
        await trio.testing.wait_all_tasks_blocked()
        assert (await mount.client.keyed("health"))["result_bytes"] == "0"


async def test_a_chain_stops_when_nothing_waits_for_its_end_any_more() -> None:
    async with serving(double=DOUBLE) as mount:
        mount.engine.hold()
        await mount.client.write("programs/double/calls/0", "[1, 2]")
        for number in range(1, 5):
            await mount.client.write(f"programs/double/calls/{number}", f"results/{number - 1}")
        for number in range(5):
            assert len(mount.engine.runs) == 5
            mount.client.unlink(f"results/{number}")
        await trio.testing.wait_all_tasks_blocked()
        assert not mount.engine.runs


async def test_a_failed_successor_leaves_the_last_good_array() -> None:
    async with serving(double=DOUBLE) as mount:
        await mount.client.write("arrays/w", "[1.0, 2.0]")
        mount.engine.hold()
        for name in ("g", "h"):
            await mount.client.write(f"programs/double/calls/{name}", "arrays/w")
            await mount.client.rename(f"results/{name}", "arrays/w")
        assert (await mount.client.keyed("arrays/w.status"))["state"] == "pending"
        mount.engine.finish()
        mount.engine.fail(error=RunFailed("out of luck"))
        assert await mount.client.read("arrays/w.json") == b"[2.0, 4.0]\n"
        assert "out of luck" in await mount.client.text("arrays/w.error")
        status = await mount.client.keyed("arrays/w.status")
        assert (status["state"], status["errno"]) == ("ready", "EIO")
        mount.engine.release()
        await mount.client.write("programs/double/calls/1", "arrays/w")
        assert await mount.client.read("results/1.json") == b"[4.0, 8.0]\n"
        mount.client.unlink("results/1")
        mount.client.unlink("arrays/w")
        assert (await mount.client.keyed("health"))["result_bytes"] == "0"


@pytest.mark.parametrize("way", ["rename", "link", "reference"])
async def test_each_way_to_fill_an_array_leaves_the_last_good_one_when_it_fails(way: str) -> None:
    async with serving(double=DOUBLE) as mount:
        await mount.client.write("arrays/w", "[1.0, 2.0]")
        mount.engine.hold()
        await mount.client.write("programs/double/calls/g", "arrays/w")
        if way == "rename":
            mount.client.link("results/g", "arrays/v")
            await mount.client.rename("arrays/v", "arrays/w")
        elif way == "link":
            await mount.client.rename("results/g", "arrays/w")
        else:
            await mount.client.write("arrays/w", "results/g")
        mount.engine.fail(error=RunFailed("out of luck"))
        assert await mount.client.read("arrays/w.json") == b"[1.0, 2.0]\n"
        assert "out of luck" in await mount.client.text("arrays/w.error")


async def test_a_result_can_be_moved_while_its_call_is_submitted() -> None:
    async with serving(add=ADD) as mount:
        await mount.client.write("arrays/w", "[1.0]")
        mount.compiler.hold("compile")
        for name, words in (("late", "[1, 2] [3, 4]"), ("broken", "[1]")):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(mount.client.write, f"programs/{name}.mlir", f"{ADD} # {name}=1")
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
            file = await mount.client.open_file(
                f"programs/{name}/calls/1", os.O_CREAT | os.O_WRONLY
            )
            await file.write(words.encode())
            with trio.move_on_after(0):
                await file.flush()
            file.release()
            await mount.client.rename("results/1", "arrays/w")
        mount.compiler.release("compile")
        await mount.client.mount.calls.commits.settle_all()
        assert await mount.client.read("arrays/w.json") == b"[4.0, 6.0]\n"
        assert (await mount.client.text("arrays/w.error")).startswith("EINVAL")


async def test_a_result_with_another_name_goes_on_when_its_first_one_is_removed() -> None:
    async with serving(double=DOUBLE) as mount:
        mount.engine.hold()
        await mount.client.write("programs/double/calls/0", "[1, 2]")
        mount.client.link("results/0", "arrays/later")
        mount.client.unlink("results/0")
        assert (await mount.client.keyed("arrays/later.status"))["state"] == "pending"
        await mount.client.write("programs/double/calls/1", "arrays/later")
        mount.engine.release()
        assert await mount.client.read("results/1.json") == b"[4.0, 8.0]\n"


async def test_a_removed_input_stays_until_the_runs_that_wait_for_it_have_ended() -> None:
    async with serving(big=BIG) as mount:
        await mount.client.write("arrays/w", npy_of(np.arange(100_000)))
        mount.engine.hold()
        await mount.client.write("programs/big/calls/1", "arrays/w")
        mount.client.unlink("arrays/w")
        mount.engine.release()
        assert (await mount.client.read("results/1.raw"))[4:8] == np.float32(2).tobytes()
        mount.client.unlink("results/1")
        assert mount.engine.pool.used_bytes == 0


async def test_a_pytree_is_given_to_inputs_of_the_same_names() -> None:
    async with serving(pair=PAIR) as mount:
        await mount.client.write("programs/pair/calls/1", "[1, 2] 3")
        await mount.client.write("programs/pair/calls/2", "results/1.p")
        assert await mount.client.read("results/2.p.w.json") == b"[1.0, 2.0]\n"
        with pytest.raises(Invalid):
            await mount.client.write("programs/pair/calls/3", "results/1.p 4")


async def test_leaves_are_matched_by_name_in_any_order() -> None:
    swapped = "identity(q.b: f32[], q.w: f32[2]) -> f32[], f32[2]"
    async with serving(pair=PAIR, swapped=swapped) as mount:
        await mount.client.write("programs/pair/calls/1", "[1, 2] 3")
        await mount.client.write("programs/swapped/calls/2", "results/1.p")
        assert await mount.client.read("results/2.0.json") == b"3.0\n"


async def test_a_call_may_take_parts_of_several_results() -> None:
    async with serving(pair=PAIR, add=ADD) as mount:
        await mount.client.write("programs/pair/calls/1", "[1, 2] 3")
        await mount.client.write("programs/add/calls/2", "results/1.0 results/1.p.w")
        assert await mount.client.read("results/2.json") == b"[2.0, 4.0]\n"


async def test_what_another_users_engine_makes_is_waited_for_and_copied() -> None:
    engines = FakeEngines(per_user=True)
    async with serving(engines=engines, big=BIG) as mount:
        mount.engine.hold()
        await mount.client.write("programs/big/calls/1.raw", bytes(400_000))
        await mount.user(ALICE).write("programs/big/calls/2", "results/1")
        await trio.testing.wait_all_tasks_blocked()
        assert not engines.of(ALICE).runs
        mount.engine.release()
        assert len(await mount.user(ALICE).read("results/2.raw")) == 400_000
        for result in ("results/1", "results/2"):
            mount.user(0).unlink(result)
        await trio.testing.wait_all_tasks_blocked()
        assert mount.engine.pool.used_bytes == engines.of(ALICE).pool.used_bytes == 0


async def test_what_another_users_engine_fails_to_make_fails_the_waiting_call() -> None:
    engines = FakeEngines(per_user=True)
    async with serving(engines=engines, double=DOUBLE) as mount:
        mount.engine.hold()
        await mount.client.write("programs/double/calls/1", "[1, 2]")
        await mount.user(ALICE).write("programs/double/calls/2", "results/1")
        await trio.testing.wait_all_tasks_blocked()
        mount.engine.fail(error=RunFailed("out of luck"))
        with pytest.raises(RunFailed, match="out of luck"):
            await mount.user(ALICE).read("results/2")


async def test_an_input_of_no_bytes_needs_no_result() -> None:
    empty = "identity(x: f32[0]) -> f32[0]"
    async with serving(empty=empty) as mount:
        mount.engine.hold()
        await mount.client.write("programs/empty/calls/1", "[]")
        await mount.client.write("programs/empty/calls/2", "results/1")
        mount.engine.finish(2)
        assert await mount.client.read("results/2.raw") == b""
