"""Commits belong to the mount: the table of writers, targets and reasons to wait.

``WAITS`` has a row for each target and each reason for which its commit can wait.  The other
combinations do not exist: a source and a device wait for compiles only, an array and a bound input
for long text only; where compile slots are full, everything that compiles waits for one.  That a
real process is each kind of writer is shown by ``tests/e2e/test_writers.py``.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import attrs
import pytest
import trio
import trio.testing

from jaxfs.errors import BrokenProgram, Invalid, JaxfsError, NameTaken
from jaxfs.testing import ClientFile, FakeCompiler, FakeEngines, InProcessMount
from tests.unmounted import ADD, DOUBLE, UNTYPED, serving

CREATE = os.O_WRONLY | os.O_CREAT
LONG = "[" + " " * (1 << 18) + "1, 2]"  # read in a thread
T = TypeVar("T")


@attrs.frozen
class Wait:
    """A target whose commit waits.

    Attributes:
        path: What is written.
        data: What is written to it.
        flags: Those of open(2).
        shown: Where the commit shows.
        expected: What it shows then.
        kept: The name that is there if nothing was committed; empty for none.
        compiles: Whether a compile keeps it waiting; else a long text does.
        sources: The programs that are there before.
        fills: Whether all places of the compiler are taken.
    """

    path: str
    data: str
    shown: str
    expected: str
    flags: int = CREATE
    kept: str = ""
    compiles: bool = True
    sources: tuple[str, ...] = ("add",)
    fills: bool = False


SOURCES = {"add": ADD, "double": DOUBLE, "untyped": UNTYPED}
SUM = "[4.0, 6.0]\n"
TWICE = "[2, 4]\n"
WAITS = {
    "program-compile": Wait("programs/p.mlir", ADD, "programs/p/call", SUM, sources=()),
    "program-full-queue": Wait(
        "programs/p.mlir", ADD, "programs/p/call", SUM, sources=(), fills=True
    ),
    "call-compile": Wait("programs/late/calls/1", "[1, 2] [3, 4]", "results/1.json", SUM),
    "call-specialization": Wait(
        "programs/untyped/calls/1", "[1, 2]", "results/1.json", TWICE, sources=("untyped",)
    ),
    "call-path": Wait(
        "transformations/grad/double/calls/1",
        "[1, 2]",
        "results/1.json",
        "[2.0, 4.0]\n",
        sources=("double",),
    ),
    "call-long-text": Wait(
        "programs/add/calls/1", f"{LONG} [3, 4]", "results/1.json", SUM, compiles=False
    ),
    "call-full-queue": Wait(
        "programs/untyped/calls/1",
        "[1, 2]",
        "results/1.json",
        TWICE,
        sources=("untyped",),
        fills=True,
    ),
    "array-long-text": Wait("arrays/w", LONG, "arrays/w.json", "[1, 2]\n", compiles=False),
    "input-long-text": Wait(
        "programs/add/inputs/x", LONG, "programs/add/inputs/x", "", compiles=False
    ),
    "check-path": Wait(
        "transformations/grad/double/check",
        "[1, 2]",
        "transformations/grad/double/check",
        "out.0",
        os.O_WRONLY,
        sources=("double",),
    ),
    "check-specialization": Wait(
        "programs/untyped/check",
        "[1, 2]",
        "programs/untyped/check",
        "out.0",
        os.O_WRONLY,
        sources=("untyped",),
    ),
    "options-compile": Wait(
        "programs/add/options", "inline true", "programs/add/options", "inline true", os.O_WRONLY
    ),
    "device-compile": Wait(
        "programs/add/device", "cpu:1", "programs/add/device", "cpu:1\n", os.O_WRONLY
    ),
    "signature-compile": Wait(
        "programs/untyped/signature",
        "f32[2]",
        "programs/untyped/specializations/f32_2/error",
        "ok\n",
        os.O_WRONLY,
        sources=("untyped",),
    ),
}


async def interrupted(wait: Callable[[], Awaitable[T]]) -> None:
    """Begins to wait, and is interrupted, as at the exit of a process or a Ctrl-C."""
    with trio.CancelScope() as scope:
        scope.cancel()
        await wait()
    assert scope.cancelled_caught


async def closed(file: ClientFile) -> None:
    await file.close()


async def exited(file: ClientFile) -> None:
    await interrupted(file.flush)
    file.release()


async def duplicated(file: ClientFile) -> None:
    """Closes one descriptor with a Ctrl-C, then waits for the end when it closes the other."""
    await interrupted(file.flush)
    await file.close()


async def closed_twice_at_once(file: ClientFile) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(file.flush)
        nursery.start_soon(file.flush)
    file.release()


WRITERS = (closed, exited, duplicated, closed_twice_at_once)


@asynccontextmanager
async def waiting(row: Wait) -> AsyncIterator[InProcessMount]:
    """A mount in which the commit of a row has to wait, until ``release_all``."""
    compiler = FakeCompiler(limit=1 if row.fills else 64)
    sources = {name: SOURCES[name] for name in row.sources}
    async with serving(None, FakeEngines(2, owner_uid=1000), compiler, **sources) as m:
        if row.compiles:
            compiler.hold("compile")
        if row.fills:
            await write_and_exit(m, "programs/first.mlir", ADD + "  # first=1")
        if row.path.startswith("programs/late"):
            await write_and_exit(m, "programs/late.mlir", ADD + "  # late=1")
        yield m


def release_all(mount: InProcessMount, row: Wait) -> None:
    if row.compiles:
        mount.compiler.release("compile")


async def write_and_exit(mount: InProcessMount, path: str, data: str, flags: int = CREATE) -> None:
    file = await mount.client.open_file(path, flags)
    await file.write(data.encode())
    await exited(file)


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("row", WAITS.values(), ids=WAITS.keys())
async def test_what_a_writer_in_good_order_wrote_is_committed_once(
    row: Wait, writer: Callable[[ClientFile], Awaitable[None]]
) -> None:
    async with waiting(row) as mount:
        file = await mount.client.open_file(row.path, row.flags)
        await file.write(row.data.encode())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer, file)
            await trio.testing.wait_all_tasks_blocked()
            release_all(mount, row)
        assert (await shown(mount, row)).startswith(row.expected.encode())
        assert mount.client.mount.internal_errors == 0
        assert await mount.client.text("error_log") == ""


@pytest.mark.parametrize("row", WAITS.values(), ids=WAITS.keys())
async def test_what_a_killed_writer_wrote_is_not_committed_and_its_name_is_free(row: Wait) -> None:
    async with waiting(row) as mount:
        before = await content(mount, row.shown) if not row.flags & os.O_CREAT else b""
        listed = mount.client.ls(os.path.dirname(row.path))
        file = await mount.client.open_file(row.path, row.flags)
        await file.write(row.data.encode())
        file.kill()
        assert mount.client.ls(os.path.dirname(row.path)) == listed
        if not row.flags & os.O_CREAT:
            assert await content(mount, row.shown) == before
        release_all(mount, row)
        await mount.client.write(row.path, row.data)
        assert (await shown(mount, row)).startswith(row.expected.encode())


async def shown(mount: InProcessMount, row: Wait) -> bytes:
    if row.shown.endswith("/call"):
        return await mount.client.ask(row.shown, "[1, 2] [3, 4]")
    return await mount.client.read(row.shown)


async def content(mount: InProcessMount, path: str) -> bytes:
    """A file's content, empty while there is none."""
    try:
        with trio.fail_after(1):
            return await mount.client.read(path)
    except (JaxfsError, trio.TooSlowError):
        return b""


async def test_a_failure_that_no_process_waits_for_reaches_error_and_error_log() -> None:
    rows = {
        "programs/p.mlir": "programs/p/error",
        "programs/add/calls/1": "results/1.error",
        "arrays/w": "arrays/w.error",
        "programs/add/check": "programs/add/check",
    }
    async with serving(add=ADD) as mount:
        for path, error in rows.items():
            flags = os.O_WRONLY if path.endswith("check") else CREATE
            await write_and_exit(mount, path, "no such thing", flags)
            await mount.client.mount.calls.commits.settle_all()
            assert (await mount.client.text(error)).startswith("EINVAL: ")
            assert path in await mount.client.text("error_log")
        assert len((await mount.client.text("error_log")).splitlines()) == len(rows)


async def test_the_error_of_a_program_waits_for_what_an_exiting_process_wrote() -> None:
    async with serving(p=ADD) as mount:
        mount.compiler.hold("compile")
        await write_and_exit(mount, "programs/p.mlir", "no such thing" + DOUBLE)
        async with trio.open_nursery() as nursery:
            found = list[str]()

            async def read() -> None:
                found.append(await mount.client.text("programs/p/error"))

            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            mount.compiler.release("compile")
        assert found[0].startswith("EINVAL: ")


async def test_what_is_written_after_a_flush_is_committed_by_the_next_one() -> None:
    async with serving() as mount:
        mount.compiler.hold("compile")
        file = await mount.client.open_file("programs/p.mlir", CREATE)
        await file.write(DOUBLE.encode())
        await interrupted(file.flush)
        await file.truncate(0)
        await file.pwrite(0, ADD.encode())
        mount.compiler.release("compile")
        await file.close()  # the older build ends with it
        assert await mount.client.text("programs/p.mlir") == ADD


async def test_a_commit_keeps_the_bytes_that_it_began_with() -> None:
    async with serving(add=ADD) as mount:
        file = await mount.client.open_file("arrays/w", CREATE)
        await file.write(LONG.encode())
        await interrupted(file.flush)
        await file.pwrite(len(LONG) - 2, b"9")  # in the shared memory of the commit
        assert await mount.client.read("arrays/w.json") == b"[1, 2]\n"
        await file.close()
        assert await mount.client.read("arrays/w.json") == b"[1, 9]\n"


async def test_the_last_of_two_writers_of_an_array_counts() -> None:
    async with serving() as mount:
        await write_and_exit(mount, "arrays/w", LONG)
        await mount.client.write("arrays/w", "[3]")
        assert await mount.client.read("arrays/w.json") == b"[3]\n"


async def test_a_reference_waits_for_the_write_that_was_before() -> None:
    async with serving(add=ADD, double=DOUBLE) as mount:
        await write_and_exit(mount, "arrays/w", LONG.replace("1, 2", "1.0, 2.0"))
        await write_and_exit(mount, "programs/double/calls/1", "arrays/w")
        await write_and_exit(mount, "arrays/v", "results/1")
        await write_and_exit(mount, "arrays/w", "arrays/w")
        mount.client.symlink("../../../arrays/v", "programs/add/inputs/x")
        await write_and_exit(mount, "programs/add/calls/2", "arrays/w")
        assert await mount.client.read("results/2.total.json") == b"[3.0, 6.0]\n"


async def test_a_conversation_waits_for_the_write_that_was_before() -> None:
    async with serving(double=DOUBLE) as mount:
        await write_and_exit(mount, "arrays/w", LONG.replace("1, 2", "1.0, 2.0"))
        assert await mount.client.ask("programs/double/call", "arrays/w ") == b"[2.0, 4.0]\n"


async def test_a_call_that_is_being_submitted_says_so() -> None:
    async with serving() as mount:
        mount.compiler.hold("compile")
        await write_and_exit(mount, "programs/late.mlir", ADD)
        await write_and_exit(mount, "programs/late/calls/1", "[1, 2] [3, 4]")
        assert (await mount.client.keyed("programs/late/calls/1"))["state"] == "submitting"
        assert (await mount.client.keyed("results/1.status"))["state"] == "submitting"
        assert mount.client.stat("results/1.total.txt").size == 0
        with pytest.raises(NameTaken, match="was submitted"):
            await mount.client.open_file("programs/late/calls/1", os.O_WRONLY)
        early = await mount.client.open_file("results/1.json", os.O_NONBLOCK)
        assert not early.poll() & 1
        mount.compiler.release("compile")
        await early.wait_for(1)
        assert await early.read() == SUM.encode()
        early.release()
        assert await mount.client.read("results/1.total.json") == SUM.encode()


async def test_a_result_that_is_removed_while_its_call_is_submitted_is_no_result() -> None:
    async with serving() as mount:
        mount.compiler.hold("compile")
        await write_and_exit(mount, "programs/late.mlir", ADD)
        await write_and_exit(mount, "programs/late/calls/1", "[1, 2] [3, 4]")
        mount.client.unlink("results/1")
        mount.compiler.release("compile")
        await mount.client.write("programs/late/calls/1", "[1, 2] [3, 5]")
        assert await mount.client.read("results/1.json") == b"[4.0, 7.0]\n"


async def test_a_call_of_a_program_whose_compile_fails_is_failed_with_the_reason() -> None:
    async with serving() as mount:
        mount.compiler.hold("compile")
        mount.compiler.fail("compile", Invalid("no good"))
        await write_and_exit(mount, "programs/late.mlir", ADD)
        await write_and_exit(mount, "programs/late/calls/1", "[1, 2] [3, 4]")
        mount.compiler.release("compile")
        assert (await mount.client.text("results/1.error")).startswith("ENOEXEC")
        with pytest.raises(JaxfsError, match="no version that works"):
            await mount.client.read("results/1")
        with pytest.raises(BrokenProgram):
            await mount.client.write("programs/late/calls/1", "[1, 2] [3, 4]")


async def test_a_read_that_is_interrupted_while_its_request_compiles_misses_nothing() -> None:
    async with serving(untyped=UNTYPED) as mount:
        mount.compiler.hold("compile")
        file = await mount.client.open_file("programs/untyped/call", os.O_RDWR)
        await file.write(b"[1, 2]")
        await interrupted(file.read)
        mount.compiler.release("compile")
        assert await file.read() == TWICE.encode()
        await file.close()


async def test_a_killed_writer_ends_no_request_of_a_write_only_conversation() -> None:
    async with serving(double=DOUBLE) as mount:
        file = await mount.client.open_file("programs/double/call", os.O_WRONLY)
        await file.write(b"[1, 2")
        assert file.open_file.is_dirty()
        assert not file.open_file.is_plain
        file.kill()
        assert await mount.client.text("error_log") == ""


async def test_a_name_that_another_writer_has_open_stays_when_a_writer_is_killed() -> None:
    async with serving(add=ADD) as mount:
        first = await mount.client.open_file("programs/add/calls/1", CREATE)
        second = await mount.client.open_file("programs/add/calls/1", CREATE)
        await first.write(b"[1, 2]")
        first.kill()
        await second.write(b"[1, 2] [3, 4]")
        await second.close()
        assert await mount.client.read("results/1.json") == SUM.encode()
