"""poll(2)."""

from __future__ import annotations

import os
from select import POLLIN, POLLOUT, POLLPRI

import trio

from tests.unmounted import ADD, serving


async def test_a_status_polls_the_change_of_its_program() -> None:
    async with serving(add=ADD) as mount, mount.client.open("programs/add/status") as file:
        assert file.poll() == POLLIN | POLLOUT
        await mount.client.write("programs/add.mlir", "add(x: f32[3]) -> f32[3]")
        assert file.poll() & POLLPRI
        first = await file.pread(0)
        assert b"state ready" in first
        assert not file.poll() & POLLPRI


async def test_a_results_status_polls_its_end() -> None:
    async with serving(add=ADD) as mount:
        mount.engine.hold()
        await mount.client.write("programs/add/calls/1", "[1, 2] [3, 4]")
        async with mount.client.open("results/1.status") as file, trio.open_nursery() as nursery:
            nursery.start_soon(file.wait_for, POLLPRI)
            await trio.testing.wait_all_tasks_blocked()
            mount.engine.release()
        async with mount.client.open("results/1.status") as file:
            assert not file.poll() & POLLPRI
            assert file.open_file.next_change() is None


async def test_a_result_opened_without_blocking_polls_readable_when_it_is_there() -> None:
    async with serving(add=ADD) as mount:
        mount.engine.hold()
        await mount.client.write("programs/add/calls/1", "[1, 2] [3, 4]")
        async with mount.client.open("results/1", os.O_NONBLOCK) as file:
            assert file.poll() == POLLOUT
            mount.engine.release()
            assert await file.wait_for(POLLIN) == POLLIN | POLLOUT


async def test_a_conversation_polls_readable_when_the_reply_is_there() -> None:
    async with (
        serving(add=ADD) as mount,
        mount.client.open("programs/add/call", os.O_RDWR) as file,
    ):
        assert file.poll() == POLLOUT
        mount.engine.hold()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(file.wait_for, POLLIN)
            await trio.testing.wait_all_tasks_blocked()
            await file.write(b"[1, 2] [3, 4]\n")
            await trio.testing.wait_all_tasks_blocked()
            mount.engine.release()
        assert await file.read() == b"[4.0, 6.0]\n"


async def test_a_request_that_ends_where_reading_begins_polls_readable() -> None:
    async with (
        serving(twice="double(x)") as mount,
        mount.client.open("programs/twice/call", os.O_RDWR) as file,
    ):
        await file.write(b"[1.5, 2]\n")
        assert file.poll() & POLLIN
        assert await file.read() == b"[3.0, 4.0]\n"
