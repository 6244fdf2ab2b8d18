"""Calls whose inputs are arrays and results of other calls."""

from __future__ import annotations

import numpy as np
import pytest
import trio

from jaxfs.errors import Cancelled, Invalid, RunFailed
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


async def test_a_cancelled_call_cancels_those_that_wait_for_it() -> None:
    async with serving(double=DOUBLE) as mount:
        mount.engine.hold()
        await mount.client.write("programs/double/calls/0", "[1, 2]")
        await mount.client.write("programs/double/calls/1", "results/0")
        await mount.client.write("programs/double/calls/2", "results/1")
        mount.client.unlink("results/0")
        for name in ("1", "2"):
            with pytest.raises(Cancelled):
                await mount.client.read(f"results/{name}")


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
