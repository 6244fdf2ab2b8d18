"""Staging files: compiled when they are closed, programs when they are renamed."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from jaxfs.errors import Invalid, NoSpace, OverQuota, RunFailed
from jaxfs.options import Options
from jaxfs.programs.source_check import check_is_program
from jaxfs.quotas import DISK, STAGING
from jaxfs.testing import PICKLE, InProcessMount, eventually_async, open_vfs
from tests.unmounted import ADD, ALICE, DOUBLE, serving

REQUEST, SUM = "[1, 2] [3, 4]", b"[4.0, 6.0]\n"


async def compiled(mount: InProcessMount, name: str) -> str:
    """Waits for the compile of a staging file, and returns its state."""
    path = f"programs/{name}"
    await eventually_async(
        lambda: mount.client.xattrs(path).get("user.jaxfs.state", b"compiling") != b"compiling"
    )
    return mount.client.xattrs(path)["user.jaxfs.state"].decode()


async def built(mount: InProcessMount, name: str) -> None:
    """Waits for the builds of a program."""
    program = mount.mount.programs.get(name)
    assert program is not None
    await eventually_async(lambda: not program.is_building)


async def test_a_staging_file_is_compiled_when_it_is_closed_and_its_close_waits_for_nothing() -> (
    None
):
    async with serving() as mount:
        mount.compiler.hold("compile")
        await mount.client.write("programs/.new", ADD)
        await eventually_async(lambda: mount.compiler.count("compile") == 1)
        mount.compiler.release("compile")
        assert await compiled(mount, ".new") == "ready"
        await mount.client.rename("programs/.new", "programs/add.mlir")
        assert (await mount.client.keyed("programs/add/status"))["state"] == "ready"
        assert await mount.client.ask("programs/add/call", REQUEST) == SUM
        assert mount.compiler.count("compile") == 1


async def test_a_rename_waits_for_no_compile() -> None:
    async with serving() as mount:
        mount.compiler.hold("compile")
        await mount.client.write("programs/.new", ADD)
        with trio.fail_after(5):
            await mount.client.rename("programs/.new", "programs/add.mlir")
        assert (await mount.client.keyed("programs/add/status"))["state"] == "compiling"
        assert await mount.client.text("programs/add.mlir") == ADD
        mount.compiler.release("compile")
        assert await mount.client.ask("programs/add/call", REQUEST) == SUM
        assert mount.compiler.count("compile") == 1


async def test_the_previous_version_serves_until_that_of_a_renamed_file_is_there() -> None:
    async with serving(p=DOUBLE) as mount:
        mount.compiler.hold("compile")
        await mount.client.write("programs/.new", ADD)
        await mount.client.rename("programs/.new", "programs/p.mlir")
        assert await mount.client.ask("programs/p/call", "[1, 2]") == b"[2.0, 4.0]\n"
        mount.compiler.release("compile")
        await built(mount, "p")
        assert await mount.client.ask("programs/p/call", REQUEST) == SUM
        assert await mount.client.text("programs/p.mlir") == ADD


async def test_a_rename_reports_a_compile_that_has_ended_and_changes_nothing() -> None:
    async with serving(p=DOUBLE) as mount:
        mount.compiler.fail("trace", Invalid("bad"))
        await mount.client.write("programs/.new", ADD)
        assert await compiled(mount, ".new") == "EINVAL: bad"
        with pytest.raises(Invalid, match="bad"):
            await mount.client.rename("programs/.new", "programs/p.mlir")
        assert mount.client.ls("programs") == [".new", "p", "p.mlir"]
        assert await mount.client.text("programs/p.mlir") == DOUBLE
        assert await mount.client.text("programs/p/error") == "EINVAL: bad\n"


async def test_a_verdict_after_the_rename_is_in_status_error_and_error_log() -> None:
    async with serving(p=DOUBLE) as mount:
        mount.compiler.fail("compile", Invalid("bad"))
        mount.compiler.hold("compile")
        await mount.client.write("programs/.new", ADD)
        await mount.client.rename("programs/.new", "programs/p.mlir")
        mount.compiler.release("compile")
        await built(mount, "p")
        assert (await mount.client.keyed("programs/p/status"))["errno"] == "EINVAL"
        assert await mount.client.text("programs/p/error") == "EINVAL: bad\n"
        assert "programs/p.mlir" in await mount.client.text("error_log")
        assert await mount.client.text("programs/p.mlir") == DOUBLE
        assert await mount.client.ask("programs/p/call", "[1, 2]") == b"[2.0, 4.0]\n"


@pytest.mark.parametrize("error", [RunFailed("killed"), NoSpace("full")])
async def test_a_compile_that_was_ended_is_tried_again_after_the_rename(
    error: RunFailed | NoSpace,
) -> None:
    async with serving(p=DOUBLE) as mount:
        mount.compiler.fail("compile", error, times=2)
        await mount.client.write("programs/.new", ADD)
        assert error.reason in await compiled(mount, ".new")
        await mount.client.rename("programs/.new", "programs/p.mlir")
        await built(mount, "p")
        assert await mount.client.text("programs/p/error") == error.text()
        await mount.client.utime("programs/p.mlir", None, 10**9)  # touch
        await built(mount, "p")
        assert await mount.client.ask("programs/p/call", REQUEST) == SUM


@pytest.mark.parametrize("before", ["nothing", "a program"])
async def test_a_renamed_source_outlives_a_daemon_that_ends_while_it_compiles(
    tmp_path: Path, before: str
) -> None:
    async with open_vfs(state_dir=tmp_path) as mount:
        if before == "a program":
            await mount.client.write("programs/p.mlir", DOUBLE)
        mount.compiler.hold("compile")
        await mount.client.write("programs/.new", ADD)
        await mount.client.rename("programs/.new", "programs/p.mlir")
    async with open_vfs(state_dir=tmp_path) as mount:
        assert mount.client.ls("programs") == ["p", "p.mlir"]
        await built(mount, "p")
        assert await mount.client.ask("programs/p/call", REQUEST) == SUM


async def test_a_renamed_file_is_compiled_with_the_options_of_the_program_it_replaces() -> None:
    async with serving() as mount:
        await mount.client.write("programs/f.pkl", PICKLE + ADD.encode())
        await mount.client.write("programs/f/options", "donate_argnums 0")
        await mount.client.write("programs/.new", PICKLE + DOUBLE.encode())
        await compiled(mount, ".new")
        await mount.client.rename("programs/.new", "programs/f.pkl")
        await built(mount, "f")
        assert mount.compiler.jobs[-2].options == {"donate_argnums": "0"}
        assert await mount.client.ask("programs/f/call", "[1, 2]") == b"[2.0, 4.0]\n"


async def test_a_pickle_that_its_user_may_not_run_is_refused() -> None:
    async with serving() as mount:
        alice = mount.user(ALICE)
        await alice.write("programs/.new", PICKLE + ADD.encode())
        assert (await compiled(mount, ".new")).startswith("EACCES")
        with pytest.raises(Exception, match="mounting user"):
            await alice.rename("programs/.new", "programs/f.pkl")
        assert mount.compiler.jobs == []


async def test_a_staging_file_that_is_written_again_or_removed_ends_its_compile() -> None:
    async with serving() as mount:
        mount.compiler.hold("trace")
        await mount.client.write("programs/.new", ADD)
        await eventually_async(lambda: mount.compiler.count("trace") == 1)
        await mount.client.write("programs/.new", DOUBLE)
        await eventually_async(lambda: mount.compiler.count("trace") == 2)
        assert len(mount.mount.programs.jobs.under_way) == 1
        mount.client.unlink("programs/.new")
        await eventually_async(lambda: not mount.mount.programs.jobs.under_way)
        assert list((mount.state_dir / "sources").iterdir()) == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"garbage", "without any function"),
        (b"b0VIM 9.0\0\0", "binary formats"),
        (b"\x93NUMPY", "npy"),
        (b"import jax\n", "Python"),
        (bytes(100), "binary formats"),
    ],
)
async def test_what_is_no_program_at_sight_starts_no_compile(content: bytes, reason: str) -> None:
    async with serving() as mount:
        await mount.client.write("programs/.new", content)
        with pytest.raises(Invalid, match=reason):
            await mount.client.rename("programs/.new", "programs/p.mlir")
        assert mount.compiler.jobs == []
        assert mount.client.ls("programs") == [".new"]


def test_the_formats_of_programs_are_known_at_sight() -> None:
    for head in (b"module { func.func @main() }", b"ML\xefR\x01", PICKLE, b"\x10\0\0\0ab\0"):
        check_is_program(head, 100)


async def test_a_copy_of_a_staging_file_keeps_its_content() -> None:
    async with serving() as mount:
        await mount.client.write("programs/.one", ADD)
        await mount.client.write("programs/.two", ADD)
        await mount.client.write("programs/.one", "other")
        mount.client.unlink("programs/.one")
        assert await mount.client.text("programs/.two") == ADD


async def test_a_staging_file_is_charged_until_it_is_a_program_or_gone(tmp_path: Path) -> None:
    async with open_vfs(state_dir=tmp_path) as mount:

        def used() -> list[int]:
            return [mount.mount.quotas.used(1000, kind) for kind in (STAGING, DISK)]

        await mount.client.write("programs/.one", "x" * 100)
        await mount.client.write("programs/.two", "x" * 200)
        assert used() == [2, 300]
        await mount.client.write("programs/.two", "x" * 100)
        assert used() == [2, 100]
        await mount.client.rename("programs/.two", "programs/.one")
        assert used() == [1, 100]
        await mount.client.write("programs/.one", ADD)
        await trio.testing.wait_all_tasks_blocked()
        compiled = used()[1]
        assert compiled > len(ADD)
        await mount.client.rename("programs/.one", "programs/p.mlir")
        assert used() == [0, compiled]
        await mount.client.rename("programs/p.mlir", "programs/.p")
        assert used() == [1, len(ADD)]
    async with open_vfs(state_dir=tmp_path) as mount:
        assert mount.mount.quotas.used(1000, DISK) == len(ADD)
        mount.client.unlink("programs/.p")
        assert mount.mount.quotas.used(1000, DISK) == 0


async def test_staging_files_past_the_share_of_a_user_are_refused() -> None:
    options = Options(max_disk_per_user=100, max_programs_per_user=2)
    async with serving(options) as mount:
        await mount.client.write("programs/.one", "x" * 60)
        with pytest.raises(OverQuota, match="max_disk_per_user"):
            await mount.client.write("programs/.two", "y" * 60)
        assert await mount.client.text("programs/.two") == ""
        with pytest.raises(OverQuota, match="max_programs_per_user"):
            await mount.client.write("programs/.three", "x")
        await mount.user(ALICE).write("programs/.four", "x" * 60)
        mount.client.unlink("programs/.one")
        await mount.client.write("programs/.two", "y" * 60)
