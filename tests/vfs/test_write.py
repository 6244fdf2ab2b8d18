"""write(2), fsync(2) and close(2) of files that commit what was written."""

from __future__ import annotations

import os

import pytest
import trio

from jaxfs.errors import Invalid, NotPermitted, OverQuota, TooBig
from jaxfs.options import Options
from tests.unmounted import ADD, DOUBLE, UNTYPED, serving

WRITE = os.O_WRONLY | os.O_CREAT


async def test_a_program_arrives_in_any_writes_at_any_offsets() -> None:
    async with serving() as mount:
        async with mount.client.open("programs/add.mlir", WRITE) as file:
            for start in (20, 0, 10, 30):
                await file.pwrite(start, ADD[start : start + 10].encode())
            await file.pwrite(40, ADD[40:].encode())
        assert await mount.client.text("programs/add.mlir") == ADD


async def test_a_flush_with_nothing_written_does_nothing() -> None:
    async with serving() as mount:
        async with mount.client.open("programs/add.mlir", WRITE) as file:
            await file.flush()
            assert mount.compiler.jobs == []
            await file.write(ADD.encode())
            await file.flush()
            await file.flush()
        assert mount.compiler.count("compile") == 1


async def test_a_failed_commit_is_reported_at_each_close_until_something_new_is_written() -> None:
    async with serving() as mount:
        file = await mount.client.open_file("programs/add.mlir", WRITE)
        await file.write(b"no program")
        for _ in range(2):
            with pytest.raises(Invalid, match="not a program"):
                await file.flush()
        await file.truncate(0)
        await file.pwrite(0, ADD.encode())
        await file.close()
        assert (await mount.client.text("error_log")).count("EINVAL") == 1


async def test_a_file_grows_and_shrinks_while_it_is_written() -> None:
    async with serving() as mount:
        async with mount.client.open("programs/.new", WRITE) as file:
            await file.write(b"12345678")
            assert mount.client.stat("programs/.new").size == 8
            await file.truncate(4)
            await file.truncate(6)
            assert mount.client.stat("programs/.new").size == 6
        assert await mount.client.read("programs/.new") == b"1234\0\0"


async def test_appending_goes_behind_what_another_writer_wrote() -> None:
    async with serving() as mount:
        await mount.client.write("programs/.new", "one ")
        async with mount.client.open("programs/.new", os.O_WRONLY | os.O_APPEND) as file:
            await file.write(b"two ")
            await file.pwrite(0, b"three")
        assert await mount.client.read("programs/.new") == b"one two three"


async def test_writing_without_truncating_changes_what_is_there() -> None:
    async with serving(add=ADD) as mount:
        async with mount.client.open("programs/add.mlir", os.O_RDWR) as file:
            assert (await file.read_all()).decode() == ADD
            await file.pwrite(0, b"sub")
        assert (await mount.client.text("programs/add.mlir")) == "sub" + ADD[3:]


async def test_an_emptied_staging_file_is_empty_and_an_emptied_program_stays() -> None:
    async with serving(add=ADD) as mount:
        await mount.client.write("programs/.new", "text")
        for path, content in (("programs/.new", ""), ("programs/add.mlir", ADD)):
            async with mount.client.open(path, os.O_WRONLY | os.O_TRUNC):
                pass
            assert await mount.client.text(path) == content


async def test_a_write_past_the_limit_of_a_file_is_too_big() -> None:
    async with serving(Options(max_write_bytes=1000)) as mount:
        file = await mount.client.open_file("programs/.new", WRITE)
        with pytest.raises(TooBig, match="max_write_bytes"):
            await file.write(bytes(1001))
        with pytest.raises(TooBig):
            await file.truncate(1 << 40)
        file.release()


async def test_what_is_written_counts_for_the_writers_share() -> None:
    async with serving(Options(max_bytes_per_user=1 << 20)) as mount:
        file = await mount.client.open_file("programs/.new", WRITE)
        with pytest.raises(OverQuota, match="max_bytes_per_user"):
            await file.write(bytes(2 << 20))
        file.release()
        await mount.client.write("programs/.new", bytes(1 << 20))


async def test_a_control_file_takes_text_of_limited_length() -> None:
    async with serving(add=ADD) as mount:
        with pytest.raises(Invalid, match="UTF-8"):
            await mount.client.write("programs/add/device", b"\xff")
        with pytest.raises(Invalid, match="at most"):
            await mount.client.write("programs/add/device", bytes(1 << 17))
        async with mount.client.open("programs/add/device", os.O_WRONLY) as file:
            await file.write(b"cpu:0 and more")
            await file.truncate(5)
        assert await mount.client.text("programs/add/device") == "cpu:0\n"


async def test_a_control_file_that_nothing_is_written_to_does_nothing() -> None:
    async with serving(add=ADD) as mount:
        async with mount.client.open("programs/add/device", os.O_WRONLY):
            pass
        async with mount.client.open("programs/add/call", os.O_RDONLY) as file:
            with pytest.raises(NotPermitted):
                await file.write(b"x")
            with pytest.raises(NotPermitted):
                await file.truncate(0)


async def test_a_file_that_is_removed_while_it_is_written_commits_nothing() -> None:
    async with serving() as mount:
        file = await mount.client.open_file("programs/add.mlir", WRITE)
        await file.write(ADD.encode())
        mount.client.unlink("programs/add.mlir")
        with pytest.raises(Exception, match="removed meanwhile"):
            await file.close()
        assert mount.client.ls("programs") == []


async def test_two_writers_end_with_the_program_of_the_last_close() -> None:
    async with serving() as mount:
        first = await mount.client.open_file("programs/p.mlir", WRITE)
        second = await mount.client.open_file("programs/p.mlir", WRITE)
        await first.write(ADD.encode())
        await second.write(DOUBLE.encode())
        mount.compiler.hold("compile")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(second.close)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(first.close)
            await trio.testing.wait_all_tasks_blocked()
            mount.compiler.release("compile")
        assert await mount.client.text("programs/p.mlir") == ADD


async def test_a_commit_interrupted_by_a_signal_goes_on() -> None:
    async with serving() as mount:
        mount.compiler.hold("compile")
        file = await mount.client.open_file("programs/add.mlir", WRITE)
        await file.write(ADD.encode())
        with trio.move_on_after(0) as scope:
            await file.flush()
        assert scope.cancelled_caught
        file.release()
        mount.compiler.release("compile")
        await mount.client.ask("programs/add/call", "[1, 2] [3, 4]")
        assert mount.compiler.count("compile") == 1


OPTIONS = "programs/add/options"


async def test_lines_that_are_added_to_options_leave_the_others() -> None:
    """``echo inline true >> options``; the kernel's offset is the end of the text that is there."""
    async with serving(add=ADD) as mount:
        await mount.client.write(OPTIONS, "inline true\n")
        async with mount.client.open(OPTIONS, os.O_WRONLY | os.O_APPEND) as file:
            await file.pwrite(mount.client.stat(OPTIONS).size, b"keep_unused true\n")
        assert await mount.client.text(OPTIONS) == "inline true\nkeep_unused true\n"


async def test_processes_that_write_one_after_another_to_options_leave_all_lines() -> None:
    """``{ /bin/echo inline true; /bin/echo keep_unused true; } > options``."""
    async with serving(add=ADD) as mount:
        async with mount.client.open(OPTIONS, os.O_WRONLY | os.O_TRUNC) as file:
            for line in (b"inline true\n", b"keep_unused true\n"):
                await file.write(line)
                await file.flush()
        assert await mount.client.text(OPTIONS) == "inline true\nkeep_unused true\n"
        async with mount.client.open(OPTIONS, os.O_WRONLY) as file:
            for text in (b"inline true\nkeep_unused true\n", b"inline true\n"):
                await file.pwrite(0, text)
                await file.flush()
        assert await mount.client.text(OPTIONS) == "inline true\n"


@pytest.mark.parametrize("flags", [os.O_APPEND, 0])
async def test_texts_that_are_added_to_other_control_files_stand_for_themselves(flags: int) -> None:
    async with serving(untyped=UNTYPED) as mount:
        async with mount.client.open("programs/untyped/signature", os.O_WRONLY | flags) as file:
            for types in (b"f32[2]\n", b"f32[3]\n"):
                await file.write(types)
                await file.flush()
        assert mount.client.ls("programs/untyped/specializations") == ["f32_2", "f32_3"]


async def test_a_control_file_takes_no_zero_bytes() -> None:
    async with serving(add=ADD) as mount:
        file = await mount.client.open_file(OPTIONS, os.O_WRONLY)
        await file.pwrite(7, b"inline true\n")
        with pytest.raises(Invalid, match="zero bytes"):
            await file.close()
        assert await mount.client.text(OPTIONS) == ""
