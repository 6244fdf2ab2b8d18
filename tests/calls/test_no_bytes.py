"""Calls that need no input bytes: closing their file without a write submits them."""

from __future__ import annotations

import os

import pytest
import trio
import trio.testing

from jaxfs.errors import Cancelled, NameTaken, NotFound
from jaxfs.testing import InProcessMount
from tests.unmounted import ADD, DOUBLE, serving

CREATE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
EMPTY = "double(x: f32[0]) -> f32[0]"
NONE = "identity()"


async def touch(mount: InProcessMount, path: str) -> None:
    """As the shell's ``: > path``."""
    file = await mount.client.open_file(path, CREATE)
    await file.close()


@pytest.mark.parametrize("name", ["1", "1.raw", "1.npy", "1.json", "1.npz"])
async def test_a_call_without_bytes_is_submitted_when_its_file_is_closed(name: str) -> None:
    async with serving(none=NONE, empty=EMPTY) as mount:
        await touch(mount, f"programs/none/calls/none{name}")
        assert await mount.client.read("results/none1.json") == b"{}\n"
        await touch(mount, f"programs/empty/calls/{name}")
        assert await mount.client.read("results/1.json") == b"[]\n"
        with pytest.raises(NameTaken):
            await touch(mount, f"programs/empty/calls/{name}")


async def test_bound_inputs_need_no_bytes() -> None:
    async with serving(add=ADD) as mount:
        for number in (0, 1):
            await mount.client.write(f"programs/add/inputs/{number}", f"[{number}.0, 2.0]")
        await touch(mount, "programs/add/calls/1")
        assert await mount.client.read("results/1.json") == b"[1.0, 4.0]\n"


async def test_a_reader_waits_from_when_the_file_is_opened() -> None:
    async with serving(empty=EMPTY) as mount, trio.open_nursery() as nursery:
        file = await mount.client.open_file("programs/empty/calls/1", CREATE)
        found = list[bytes]()

        async def read() -> None:
            found.append(await mount.client.read("results/1.json"))

        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        assert not found
        await file.flush()  # of a duplicate, as shells have it
        await trio.testing.wait_all_tasks_blocked()
        assert not found
        file.release()
        await trio.testing.wait_all_tasks_blocked()
        assert found == [b"[]\n"]


async def test_a_killed_writer_submits_nothing() -> None:
    async with serving(empty=EMPTY) as mount:
        file = await mount.client.open_file("programs/empty/calls/1", CREATE)
        file.kill()
        assert mount.client.ls("results") == []
        await touch(mount, "programs/empty/calls/1")
        assert await mount.client.read("results/1.json") == b"[]\n"


async def test_a_reader_of_a_killed_writer_gets_an_error() -> None:
    async with serving(empty=EMPTY) as mount, trio.open_nursery() as nursery:
        file = await mount.client.open_file("programs/empty/calls/1", CREATE)

        async def read() -> None:
            with pytest.raises((Cancelled, NotFound)):
                await mount.client.read("results/1.json")

        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        file.kill()


async def test_what_is_written_counts_and_the_close_of_another_does_not() -> None:
    async with serving(empty=EMPTY) as mount:
        first = await mount.client.open_file("programs/empty/calls/1", CREATE)
        await touch(mount, "programs/empty/calls/1")
        await first.write(b"[]")
        await first.close()
        assert await mount.client.read("results/1.json") == b"[]\n"


async def test_a_call_that_needs_bytes_is_not_submitted_without() -> None:
    async with serving(double=DOUBLE) as mount:
        await touch(mount, "programs/double/calls/1")
        assert mount.client.ls("results") == []
        await mount.client.write("programs/double/calls/1", "[1, 2]")
        assert await mount.client.read("results/1.json") == b"[2.0, 4.0]\n"


async def test_a_renamed_staging_file_may_be_empty() -> None:
    async with serving(empty=EMPTY) as mount:
        await touch(mount, "programs/empty/calls/.1.tmp")
        await mount.client.rename("programs/empty/calls/.1.tmp", "programs/empty/calls/1")
        assert await mount.client.read("results/1.json") == b"[]\n"
