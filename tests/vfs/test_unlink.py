"""unlink(2) of each kind of file."""

from __future__ import annotations

import os

import pytest
import trio

from jaxfs.errors import Cancelled, NotFound, NotPermitted
from tests.unmounted import ADD, BIG, PAIR, serving


async def test_removing_a_source_removes_the_program() -> None:
    async with serving(add=ADD) as mount:
        mount.client.unlink("programs/add.mlir")
        assert mount.client.ls("programs") == []
        assert list((mount.state_dir / "programs").iterdir()) == []


@pytest.mark.parametrize(
    "path",
    [
        "version",
        "programs",
        "programs/add",
        "programs/add/status",
        "devices/cpu:0",
        "transformations/help",
        "arrays/w.txt",
    ],
)
async def test_what_comes_by_itself_cannot_be_removed(path: str) -> None:
    async with serving(add=ADD) as mount:
        await mount.client.write("arrays/w", "[1]")
        with pytest.raises((NotPermitted, NotFound)):
            mount.user(0).unlink(path)
        assert mount.client.exists(path)


@pytest.mark.parametrize("path", ["programs/nothing.mlir", "results/nothing", "arrays/nothing"])
async def test_a_name_that_is_not_there_cannot_be_removed(path: str) -> None:
    async with serving() as mount:
        with pytest.raises(NotFound):
            mount.client.unlink(path)


async def test_a_staging_file_and_a_link_are_removed() -> None:
    async with serving(add=ADD) as mount:
        await mount.client.write("programs/.new", "x")
        mount.client.symlink("add", "programs/plus")
        mount.client.unlink("programs/.new")
        mount.client.unlink("programs/plus")
        assert mount.client.ls("programs") == ["add", "add.mlir"]


@pytest.mark.parametrize("path", ["results/1", "results/1.status", "results/1.0"])
async def test_removing_a_result_by_any_of_its_names_frees_its_memory(path: str) -> None:
    async with serving(big=BIG) as mount:
        await mount.client.write("programs/big/calls/1.raw", bytes(400_000))
        await mount.client.read("results/1")
        assert mount.engine.pool.used_bytes > 0
        mount.client.unlink(path)
        assert mount.client.ls("results") == []
        assert mount.engine.pool.used_bytes == 0
        assert (await mount.client.keyed("health"))["result_bytes"] == "0"


async def test_an_open_result_is_read_to_its_end_after_it_was_removed() -> None:
    async with serving(big=BIG) as mount:
        await mount.client.write("programs/big/calls/1.raw", bytes(400_000))
        async with mount.client.open("results/1.raw") as file:
            assert len(await file.read(1000)) == 1000
            mount.client.unlink("results/1")
            assert len(await file.read_all()) == 399_000
        assert mount.engine.pool.used_bytes == 0


async def test_removing_the_result_of_a_running_call_cancels_it() -> None:
    async with serving(add=ADD) as mount:
        mount.engine.hold()
        await mount.client.write("programs/add/calls/1", "[1, 2] [3, 4]")

        async def read() -> None:
            with pytest.raises(Cancelled, match="was removed"):
                await mount.client.read("results/1")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            mount.client.unlink("results/1")
        assert not mount.engine.runs


async def test_a_run_that_goes_on_after_its_cancel_is_killed(autojump_clock: object) -> None:
    async with serving(add=ADD) as mount:
        mount.engine.hold()
        await mount.client.write("programs/add/calls/1", "[1, 2] [3, 4]")
        (number,) = mount.engine.runs
        mount.client.unlink("results/1")
        assert mount.engine.computing == {number}
        assert mount.engine.killed == []
        await trio.sleep(10)
        assert mount.engine.killed == [number]


async def test_removing_calls_id_keeps_the_result() -> None:
    async with serving(add=ADD) as mount:
        await mount.client.write("programs/add/calls/1", "[1, 2] [3, 4]")
        mount.client.unlink("programs/add/calls/1")
        assert mount.client.ls("programs/add/calls") == []
        assert await mount.client.read("results/1.json") == b"[4.0, 6.0]\n"


async def test_removing_a_call_that_was_not_submitted_frees_its_id() -> None:
    async with serving(add=ADD) as mount:
        file = await mount.client.open_file("programs/add/calls/1", os.O_CREAT | os.O_WRONLY)
        await file.write(b"[1, 2] [3, 4]")
        mount.client.unlink("programs/add/calls/1")
        with pytest.raises(Cancelled, match="removed before it was submitted"):
            await file.close()
        await mount.client.write("programs/add/calls/1", "[1, 2] [3, 4]")


async def test_an_array_with_two_names_stays_until_both_are_removed() -> None:
    async with serving(pair=PAIR) as mount:
        await mount.client.write("arrays/v", "[1, 2]")
        mount.client.link("arrays/v", "arrays/w")
        mount.client.unlink("arrays/v")
        assert await mount.client.read("arrays/w.json") == b"[1, 2]\n"
        mount.client.unlink("arrays/w")
        assert (await mount.client.keyed("health"))["result_bytes"] == "0"


async def test_removing_a_program_unbinds_its_inputs() -> None:
    async with serving(add=ADD) as mount:
        await mount.client.write("programs/add/inputs/x", "[1, 2]")
        mount.client.unlink("programs/add.mlir")
        assert (await mount.client.keyed("health"))["result_bytes"] == "0"
