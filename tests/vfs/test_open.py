"""open(2): flags, what waits, and what is refused."""

from __future__ import annotations

import os

import pytest
import trio

from jaxfs.errors import BrokenProgram, Invalid, NameTaken, NotFound, NotPermitted, NotReady
from jaxfs.testing import eventually_async
from tests.unmounted import ADD, serving


@pytest.mark.parametrize(
    "path",
    ["version", "health", "programs/add/status", "programs/add/cost", "results/1", "results/1.txt"],
)
async def test_files_that_only_show_something_cannot_be_written(path: str) -> None:
    async with serving(add=ADD) as mount:
        await mount.client.write("programs/add/calls/1", "[1, 2] [3, 4]")
        with pytest.raises(NotPermitted, match="cannot be written by anyone"):
            await mount.user(0).write(path, "x")


@pytest.mark.parametrize("path", ["", "programs", "programs/add", "results", "transformations"])
async def test_a_directory_is_not_opened_as_a_file(path: str) -> None:
    async with serving(add=ADD) as mount:
        with pytest.raises(NotPermitted, match="a directory"):
            await mount.vfs.open(mount.client.stat(path).ino, 0, mount.client.credentials)


async def test_o_excl_refuses_a_name_that_is_there() -> None:
    async with serving(add=ADD) as mount:
        with pytest.raises(NameTaken):
            await mount.client.open_file("programs/add.mlir", os.O_CREAT | os.O_EXCL | os.O_WRONLY)


async def test_a_missing_file_is_not_created_without_o_creat() -> None:
    async with serving() as mount:
        with pytest.raises(NotFound):
            await mount.client.open_file("programs/add.mlir", os.O_WRONLY)


@pytest.mark.parametrize("directory", ["", "results", "devices", "transformations", "programs/add"])
async def test_nothing_is_created_where_names_come_by_themselves(directory: str) -> None:
    async with serving(add=ADD) as mount:
        with pytest.raises(NotPermitted, match="nothing can be created"):
            await mount.user(0).write(f"{directory}/new", "x")


async def test_opening_a_result_waits_for_it() -> None:
    async with serving(add=ADD) as mount:
        mount.engine.hold()
        await mount.client.write("programs/add/calls/1", "[1, 2] [3, 4]")
        found = list[bytes]()

        async def read() -> None:
            found.append(await mount.client.read("results/1.txt"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            assert not found
            mount.engine.release()
        assert found == [b"4.0 6.0\n"]


async def test_a_result_opened_without_blocking_is_not_ready_until_it_is_there() -> None:
    async with serving(add=ADD) as mount:
        mount.engine.hold()
        await mount.client.write("programs/add/calls/1", "[1, 2] [3, 4]")
        async with mount.client.open("results/1.raw", os.O_RDONLY | os.O_NONBLOCK) as file:
            with pytest.raises(NotReady):
                await file.read()
            mount.engine.release()
            assert len(await file.read()) == 8
            assert await file.pread(4, 4) == (await mount.client.read("results/1.raw"))[4:]
        assert "EAGAIN" not in await mount.client.text("error_log")


@pytest.mark.parametrize("name", ["call", "call.raw", "calls/1"])
async def test_a_program_that_never_compiled_cannot_be_called(name: str) -> None:
    async with serving() as mount:
        with pytest.raises(Invalid):
            await mount.client.write("programs/bad.mlir", "no program")
        with pytest.raises(BrokenProgram, match="programs/bad/error"):
            await mount.client.write(f"programs/bad/{name}", "[1]")


async def test_a_call_waits_for_the_first_compile_of_its_program() -> None:
    async with serving() as mount:
        mount.compiler.hold("compile")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mount.client.write, "programs/add.mlir", ADD)
            await eventually_async(lambda: mount.compiler.count("compile") == 1)
            status = await mount.client.keyed("programs/add/status")
            assert (status["state"], status["compile_phase"]) == ("compiling", "compile")
            nursery.start_soon(mount.client.write, "programs/add/calls/1", "[1, 2] [3, 4]")
            await trio.testing.wait_all_tasks_blocked()
            assert mount.client.ls("results") == []
            mount.compiler.release("compile")
        assert await mount.client.read("results/1.txt") == b"4.0 6.0\n"


@pytest.mark.parametrize("name", ["cost", "memory", "signature", "stablehlo.mlir", "hlo.txt"])
async def test_what_a_compile_makes_is_not_ready_while_it_is_compiled(name: str) -> None:
    async with serving() as mount:
        mount.compiler.hold("trace")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mount.client.write, "programs/add.mlir", ADD)
            await eventually_async(lambda: mount.compiler.count("trace") == 1)
            with pytest.raises(NotReady, match="still compiling"):
                await mount.client.read(f"programs/add/{name}")
            mount.compiler.release("trace")
        assert await mount.client.read(f"programs/add/{name}")
