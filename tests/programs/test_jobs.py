"""Jobs of the compiler: whose turn it is, and which ones end because nothing waits for them."""

from __future__ import annotations

import pytest
import trio

from jaxfs.compiler.client.job_slots import JobSlots
from jaxfs.errors import Cancelled, OverQuota
from jaxfs.options import Options
from jaxfs.quotas import COMPILES, Quotas
from jaxfs.testing import FakeCompiler, InProcessMount, eventually_async
from tests.unmounted import ADD, ALICE, BOB, DOUBLE, UNTYPED, serving

CAROL = 1003


async def idle(mount: InProcessMount) -> None:
    await eventually_async(lambda: not mount.mount.programs.jobs.under_way)


async def test_a_newer_write_ends_the_compile_of_an_older_one() -> None:
    async with serving() as mount:
        mount.compiler.hold("compile")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mount.client.write, "programs/p.mlir", DOUBLE)
            await eventually_async(lambda: mount.compiler.count("compile") == 1)
            nursery.start_soon(mount.client.write, "programs/p.mlir", ADD)
            await eventually_async(lambda: mount.compiler.count("compile") == 2)
            assert len(mount.mount.programs.jobs.under_way) == 1
            mount.compiler.release("compile")
        assert await mount.client.text("programs/p.mlir") == ADD


async def test_a_job_goes_on_while_one_of_several_programs_needs_it() -> None:
    async with serving() as mount:
        mount.compiler.hold("compile")

        async def write_and_lose() -> None:
            with pytest.raises(Cancelled, match="removed meanwhile"):
                await mount.client.write("programs/one.mlir", ADD)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write_and_lose)
            nursery.start_soon(mount.user(ALICE).write, "programs/two.mlir", ADD)
            await eventually_async(lambda: mount.compiler.count("compile") == 1)
            await trio.testing.wait_all_tasks_blocked()
            mount.client.unlink("programs/one.mlir")
            await trio.testing.wait_all_tasks_blocked()
            assert len(mount.mount.programs.jobs.under_way) == 1
            mount.compiler.release("compile")
        assert mount.client.ls("programs") == ["two", "two.mlir"]
        assert mount.compiler.count("compile") == 1


async def test_jobs_of_a_removed_program_and_of_what_is_made_from_it_end() -> None:
    async with serving(p=UNTYPED, q=ADD) as mount:
        mount.compiler.hold("compile")
        mount.mount.programs.derivations.start(
            mount.mount.programs.derivations.transform(mount.mount.programs.get("q"), ("jit",))  # type: ignore[arg-type]  # it is there
        )
        await eventually_async(lambda: mount.compiler.count("compile") == 2)
        mount.client.unlink("programs/q.mlir")
        await idle(mount)


async def test_a_call_gets_its_specialization_although_the_program_is_removed_meanwhile() -> None:
    async with serving(p=UNTYPED) as mount:
        mount.compiler.hold("compile")
        replies = list[bytes]()

        async def ask() -> None:
            replies.append(await mount.client.ask("programs/p/call", "[1, 2]"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await eventually_async(lambda: mount.compiler.count("compile") == 1)
            mount.client.unlink("programs/p.mlir")
            mount.compiler.release("compile")
        assert replies == [b"[2, 4]\n"]


async def test_a_drawing_that_nothing_waits_for_ends() -> None:
    async with serving(add=ADD) as mount:
        mount.compiler.hold("draw")
        with trio.move_on_after(0.05):
            await mount.client.text("programs/add/graph.svg")
        await idle(mount)


async def test_compiles_of_one_user_do_not_delay_those_of_others() -> None:
    async with serving(compiler=FakeCompiler(limit=2)) as mount:
        mount.compiler.hold("compile")
        for uid in (ALICE, BOB):
            for number in range(4):
                program = f"double(x: f32[{uid + number}]) -> f32[{uid + number}]"
                await mount.user(uid).write(f"programs/.{uid}-{number}", program)
                new = f"programs/p{uid}-{number}.mlir"
                await mount.user(uid).rename(f"programs/.{uid}-{number}", new)
        await eventually_async(lambda: mount.compiler.count("compile") == 2)
        held = mount.compiler.hold("compile")
        held.set()  # from now on compiles end at once
        await mount.user(CAROL).write("programs/tiny.mlir", ADD)
        assert await mount.user(CAROL).ask("programs/tiny/call", "[1, 2] [3, 4]")
        assert mount.mount.programs.jobs.under_way


async def test_users_take_turns() -> None:
    slots, order = JobSlots(2), list[int]()

    async def job(uid: int) -> None:
        async with slots.turn(uid):
            order.append(uid)
            await trio.testing.wait_all_tasks_blocked()

    async with trio.open_nursery() as nursery:
        for uid in (1, 1, 1, 1, 2, 2, 3):
            nursery.start_soon(job, uid)
    assert set(order[:3]) == {1, 2, 3}


@pytest.mark.parametrize("count", [1, 2, 3, 8])
async def test_no_user_has_all_slots(count: int) -> None:
    slots, running, most = JobSlots(count), 0, 0

    async def job() -> None:
        nonlocal running, most
        async with slots.turn(1):
            running += 1
            most = max(most, running)
            await trio.testing.wait_all_tasks_blocked()
            running -= 1

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(job)
    assert most == max(1, count - 1)


async def test_jobs_that_are_cancelled_free_their_slot_and_their_place() -> None:
    quotas = Quotas({COMPILES: 3}, 0)
    slots = JobSlots(2, quotas)
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(_hold, slots)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(OverQuota, match=r"user 1 holds 3 .*max_compiles_per_user"):
            await _hold(slots)
        async with slots.turn(2):
            pass
        nursery.cancel_scope.cancel()
    assert quotas.used(1, COMPILES) == 0
    async with slots.turn(1):
        pass


async def _hold(slots: JobSlots) -> None:
    async with slots.turn(1):
        await trio.sleep_forever()


async def test_a_users_unfinished_compiles_are_limited() -> None:
    async with serving(Options(max_compiles_per_user=2)) as mount:
        mount.compiler.hold("trace")
        for number in range(2):
            await mount.client.write(f"programs/.{number}", f"{ADD} # {number}")
        await eventually_async(lambda: mount.compiler.count("trace") == 2)
        with pytest.raises(OverQuota, match="max_compiles_per_user"):
            await mount.client.write("programs/p.mlir", DOUBLE)
        with trio.move_on_after(0.05):
            await mount.user(ALICE).write("programs/q.mlir", DOUBLE)
        assert mount.compiler.count("trace") == 3
        mount.compiler.release("trace")
        await idle(mount)
        assert await mount.client.ask("programs/p/call", "[1, 2]") == b"[2.0, 4.0]\n"
