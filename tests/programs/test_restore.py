"""What a state directory brings back."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from jaxfs.errors import BrokenProgram, Busy, Invalid, NoDevice, NoSpace, RunFailed, from_os_error
from jaxfs.programs.store import Store
from jaxfs.testing import FakeCompiler, FakeEngines, InProcessMount, eventually_async, open_vfs
from jaxfs.testing.vfs_client import VfsClient
from tests.unmounted import ADD, ALICE, DOUBLE, UNTYPED

REQUEST, SUM = "[1, 2] [3, 4]", b"[4.0, 6.0]\n"


async def fill(mount: InProcessMount) -> None:
    await mount.client.write("programs/add.mlir", ADD, mode=0o640)
    await mount.client.chmod("programs/add/call", 0o600)
    await mount.user(ALICE).write("programs/twice.pkl", UNTYPED)
    await mount.client.ask("programs/twice/call", "[1, 2]")
    await mount.client.ask("transformations/jit/add/call", REQUEST)
    mount.client.symlink("../transformations/jit/add", "programs/plus")
    mount.client.symlink("../../../arrays/w", "programs/add/inputs/x")
    mount.client.symlink("../../../../arrays/w", "transformations/jit/add/inputs/y")


async def test_everything_is_there_after_a_remount_and_nothing_compiles_again(
    tmp_path: Path,
) -> None:
    async with open_vfs(state_dir=tmp_path) as mount:
        await fill(mount)
        before = [mount.client.listing("programs")[name].mtime_ns for name in ("add", "twice")]
    async with open_vfs(state_dir=tmp_path) as mount:
        assert mount.compiler.jobs == []
        client = mount.client
        assert client.ls("programs") == ["add", "add.mlir", "plus", "twice", "twice.pkl"]
        after = [client.listing("programs")[name].mtime_ns for name in ("add", "twice")]
        assert after == before
        assert client.stat("programs/add.mlir").mode & 0o777 == 0o640
        assert client.stat("programs/add/call").mode & 0o777 == 0o600
        assert client.stat("programs/twice.pkl").uid == ALICE
        assert client.ls("programs/twice/specializations") == ["i32_2"]
        assert client.ls("transformations/jit") == ["add", "help"]
        assert client.readlink("programs/add/inputs/x") == "../../../arrays/w"
        assert client.ls("transformations/jit/add/inputs") == ["y"]
        await client.write("arrays/w", "[1.0, 2.0]")
        assert await client.ask("programs/add/call", "[3, 4]") == SUM
        assert mount.compiler.jobs == []


async def test_a_lost_cache_costs_only_time(tmp_path: Path) -> None:
    async with open_vfs(state_dir=tmp_path) as mount:
        await fill(mount)
    for place in ("artifacts", "executables"):
        shutil.rmtree(tmp_path / place)
    async with open_vfs(state_dir=tmp_path) as mount:
        await eventually_async(lambda: mount.compiler.count("compile") >= 1)
        mount.client.unlink("programs/add/inputs/x")
        assert await mount.client.ask("programs/add/call", REQUEST) == SUM


async def test_a_program_that_does_not_compile_again_shows_why_and_is_tried_again_when_used(
    tmp_path: Path,
) -> None:
    async with open_vfs(state_dir=tmp_path) as mount:
        await mount.client.write("programs/add.mlir", ADD)
    shutil.rmtree(tmp_path / "executables")
    compiler = FakeCompiler()
    compiler.fail("compile", NoSpace("full"))
    async with open_vfs(state_dir=tmp_path, compiler=compiler) as mount:
        (program,) = mount.mount.programs
        await eventually_async(lambda: not program.is_building)
        assert await mount.client.text("programs/add/error") == "ENOSPC: full\n"
        assert await mount.client.ask("programs/add/call", REQUEST) == SUM


async def test_a_lost_source_is_shown_in_the_programs_error(tmp_path: Path) -> None:
    async with open_vfs(state_dir=tmp_path) as mount:
        await mount.client.write("programs/add.mlir", ADD)
    shutil.rmtree(tmp_path / "sources")
    async with open_vfs(state_dir=tmp_path) as mount:
        assert "its source is gone" in await mount.client.text("programs/add/error")
        with pytest.raises(RunFailed, match="its source is gone"):
            await mount.client.read("programs/add.mlir")


async def test_a_program_on_a_device_that_is_gone_reports_it(tmp_path: Path) -> None:
    async with open_vfs(state_dir=tmp_path, engines=FakeEngines(devices=2)) as mount:
        await mount.client.write("programs/add.mlir", ADD)
        await mount.client.write("programs/add/device", "cpu:1")
    async with open_vfs(state_dir=tmp_path) as mount:
        assert (await mount.client.text("programs/add/error")).startswith("ENODEV")
    async with open_vfs(state_dir=tmp_path, engines=FakeEngines(devices=2)) as mount:
        assert await mount.client.text("programs/add/device") == "cpu:1\n"


async def test_a_program_for_more_devices_than_there_are_now_fails_with_enodev(
    tmp_path: Path,
) -> None:
    async with open_vfs(state_dir=tmp_path, engines=FakeEngines(devices=2)) as mount:
        await mount.client.write("programs/wide.mlir", f"{ADD} # devices=2")
    async with open_vfs(state_dir=tmp_path) as mount:
        with pytest.raises(BrokenProgram):
            await mount.client.ask("programs/wide/call", REQUEST)
        assert (await mount.client.text("programs/wide/error")).startswith("ENODEV")


async def test_records_that_cannot_be_read_are_left_alone(tmp_path: Path) -> None:
    async with open_vfs(state_dir=tmp_path) as mount:
        await mount.client.write("programs/add.mlir", ADD)
    (tmp_path / "programs/bad.json").write_text("{")
    for path in (tmp_path / "executables").iterdir():
        (path / "info.json").write_text("{")
    async with open_vfs(state_dir=tmp_path) as mount:
        assert await mount.client.ask("programs/add/call", REQUEST) == SUM
        assert mount.compiler.count("compile") == 1
    assert (tmp_path / "programs/bad.json").exists()


async def test_a_broken_or_removed_program_does_not_come_back(tmp_path: Path) -> None:
    async with open_vfs(state_dir=tmp_path) as mount:
        with pytest.raises(Exception, match="not a program"):
            await mount.client.write("programs/bad.mlir", "no program")
        await mount.client.write("programs/gone.mlir", ADD)
        await mount.client.write("programs/old.mlir", DOUBLE)
        await mount.client.rename("programs/old.mlir", "programs/new.mlir")
        mount.client.unlink("programs/gone.mlir")
        mount.client.symlink("new", "programs/link")
        mount.client.unlink("programs/link")
        await mount.client.write("programs/.staged", "text")
        mount.client.unlink("programs/.staged")
    async with open_vfs(state_dir=tmp_path) as mount:
        assert mount.client.ls("programs") == ["new", "new.mlir"]
        assert len(list((tmp_path / "sources").iterdir())) == 1


async def test_a_moved_link_comes_back_under_its_new_name(tmp_path: Path) -> None:
    async with open_vfs(state_dir=tmp_path) as mount:
        mount.client.symlink("add", "programs/one")
        await mount.client.rename("programs/one", "programs/two")
    async with open_vfs(state_dir=tmp_path) as mount:
        assert mount.client.readlink("programs/two") == "add"


async def test_a_state_directory_serves_one_daemon(tmp_path: Path) -> None:
    async with open_vfs(state_dir=tmp_path):
        with pytest.raises(Busy, match="used by another"):
            Store(tmp_path)
        (tmp_path / "lock").unlink()  # by a person who takes it for a left-over
        with pytest.raises(Busy, match="used by another"):
            Store(tmp_path)
    Store(tmp_path).close()


async def test_a_full_disk_fails_the_write_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    async with open_vfs(state_dir=tmp_path) as mount:
        await mount.client.write("programs/add.mlir", ADD)
        for target, name in ((tempfile, "mkdtemp"), (Path, "write_bytes")):
            with monkeypatch.context() as patch:
                patch.setattr(target, name, lambda *args, **kwargs: full())
                with pytest.raises(NoSpace, match="state directory"):
                    await mount.client.write("programs/add.mlir", DOUBLE)
            assert await mount.client.ask("programs/add/call", REQUEST) == SUM
        await mount.client.write("programs/add.mlir", DOUBLE)


def test_a_failed_system_call_becomes_an_error_of_jaxfs() -> None:
    assert isinstance(from_os_error(OSError(28, ""), "x"), NoSpace)
    assert isinstance(from_os_error(OSError(5, ""), "x"), RunFailed)


async def without_a_version(tmp_path: Path) -> None:
    """Leaves a state directory with a program whose device is gone, and all that it has."""
    engines = FakeEngines(devices=2)
    async with open_vfs(state_dir=tmp_path, engines=engines) as mount:
        await mount.client.write("programs/p.pkl", UNTYPED)
        await mount.client.write("programs/p/device", "cpu:1")
        await mount.client.ask("programs/p/call", "[1, 2]")
        await mount.client.ask("transformations/jit/p/call", "[1, 2]")
        mount.client.symlink("../../../arrays/w", "programs/p/inputs/x")


@pytest.mark.parametrize("change", ["rename", "chmod", "chown", "bind", "bad write", "nothing"])
async def test_a_program_without_a_version_outlives_every_change_of_it(
    tmp_path: Path, change: str
) -> None:
    await without_a_version(tmp_path)
    name = "q" if change == "rename" else "p"
    async with open_vfs(state_dir=tmp_path) as mount:  # with one device
        client = mount.client
        assert (await client.keyed("programs/p/status"))["state"] == "failed"
        if change == "rename":
            await client.rename("programs/p.pkl", "programs/q.pkl")
        elif change == "chmod":
            await client.chmod("programs/p.pkl", 0o600)
        elif change == "chown":
            await mount.user(0).chown("programs/p.pkl", ALICE)
        elif change == "bind":
            client.symlink("../../../arrays/v", "programs/p/inputs/y")
        elif change == "bad write":
            with pytest.raises(NoDevice):
                await client.write("programs/p.pkl", "no program")
            assert await client.text("programs/p.pkl") == UNTYPED
    async with open_vfs(state_dir=tmp_path, engines=FakeEngines(devices=2)) as mount:
        client = mount.user(0)
        assert client.ls("programs") == [name, f"{name}.pkl"]
        assert await client.text(f"programs/{name}.pkl") == UNTYPED
        assert await client.text(f"programs/{name}/device") == "cpu:1\n"
        assert client.ls(f"programs/{name}/specializations") == ["i32_2"]
        assert client.ls("transformations/jit") == sorted(["help", name])
        assert "x" in client.ls(f"programs/{name}/inputs")


async def test_a_program_whose_device_is_gone_moves_to_another(tmp_path: Path) -> None:
    await without_a_version(tmp_path)
    async with open_vfs(state_dir=tmp_path) as mount:
        await mount.client.write("programs/p/device", "cpu:0")
        assert (await mount.client.keyed("programs/p/status"))["state"] == "untyped"
        assert mount.client.ls("programs/p/specializations") == ["i32_2"]


async def test_a_failed_rename_of_a_program_leaves_both_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    async with open_vfs(state_dir=tmp_path) as mount:
        await mount.client.write("programs/add.mlir", ADD)
        await mount.client.write("programs/double.mlir", DOUBLE)
        mount.client.symlink("add", "programs/one")
        renames = [("add.mlir", "new.mlir"), ("add.mlir", "double.mlir"), ("add.mlir", ".add")]
        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_bytes", lambda *args, **kwargs: full())
            for old, new in (*renames, ("one", "two")):
                with pytest.raises(NoSpace):
                    await mount.client.rename(f"programs/{old}", f"programs/{new}")
        names = ["add", "add.mlir", "double", "double.mlir", "one"]
        assert mount.client.ls("programs") == names
        assert await mount.client.text("programs/double.mlir") == DOUBLE
    async with open_vfs(state_dir=tmp_path) as mount:
        assert mount.client.ls("programs") == names
        assert await mount.client.text("programs/double.mlir") == DOUBLE


CHANGES: dict[str, Callable[[VfsClient], Awaitable[object]]] = {
    "chmod": lambda client: client.chmod("programs/add.mlir", 0o600),
    "chmod of a file": lambda client: client.chmod("programs/add/call", 0o600),
    "chmod of a staging file": lambda client: client.chmod("programs/.new", 0o600),
    "utimes": lambda client: client.utime("programs/add.mlir", 1, 1),
    "bind": lambda client: as_async(client.symlink, "../../../arrays/w", "programs/add/inputs/y"),
    "unbind": lambda client: as_async(client.unlink, "programs/add/inputs/x"),
    "rename of a binding": lambda client: client.rename(
        "programs/add/inputs/x", "programs/add/inputs/0"
    ),
}


async def as_async(change: Callable[..., object], *arguments: str) -> None:
    change(*arguments)


def seen(mount: InProcessMount) -> list[object]:
    """What stat(2), ls and readlink(2) show of a program and of a staging file."""
    paths = ("programs/add.mlir", "programs/add/call", "programs/.new")
    stats = [mount.client.stat(path) for path in paths]
    return [
        *((one.mode, one.mtime_ns) for one in stats),
        *mount.client.ls("programs/add/inputs"),
        mount.client.readlink("programs/add/inputs/x"),
    ]


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_that_the_full_disk_refuses_is_not_made(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    async with open_vfs(state_dir=tmp_path) as mount:
        await mount.client.write("programs/add.mlir", ADD)
        await mount.client.write("programs/.new", "x")
        mount.client.symlink("../../../arrays/v", "programs/add/inputs/x")
        before = seen(mount)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_bytes", lambda *args, **kwargs: full())
            with pytest.raises(NoSpace):
                await CHANGES[change](mount.client)
        assert seen(mount) == before
    async with open_vfs(state_dir=tmp_path) as mount:
        assert seen(mount) == before


async def test_what_a_full_disk_kept_from_being_written_has_no_source_to_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    async with open_vfs(state_dir=tmp_path) as mount:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_bytes", lambda *args, **kwargs: full())
            with pytest.raises(NoSpace):
                await mount.client.write("programs/add.mlir", ADD)
        with pytest.raises(BrokenProgram):
            await mount.client.ask("programs/add/call", "[1, 2] [3, 4]")
        assert (await mount.client.text("programs/add/error")).startswith("ENOSPC")
        with pytest.raises(Invalid, match="empty"):
            await mount.client.write("programs/add/options", "inline true")


async def test_a_recompile_that_is_killed_loses_no_derived_programs(tmp_path: Path) -> None:
    async with open_vfs(state_dir=tmp_path) as mount:
        await fill(mount)
    for place in ("artifacts", "executables"):
        shutil.rmtree(tmp_path / place)
    compiler = FakeCompiler()
    compiler.hold("trace")
    async with open_vfs(state_dir=tmp_path, compiler=compiler) as mount:
        await eventually_async(lambda: compiler.count("trace") == 2)
        await mount.client.chmod("programs/add.mlir", 0o600)
        await mount.user(ALICE).chmod("programs/twice.pkl", 0o600)
    async with open_vfs(state_dir=tmp_path) as mount:
        client = mount.user(0)
        await eventually_async(lambda: client.exists("programs/twice/specializations/i32_2"))
        await eventually_async(lambda: client.ls("transformations/jit") == ["add", "help"])


async def test_a_staging_file_outlives_the_daemon(tmp_path: Path) -> None:
    async with open_vfs(state_dir=tmp_path) as mount:
        await mount.client.write("programs/p.mlir", ADD, mode=0o640)
        await mount.client.rename("programs/p.mlir", "programs/.p.mlir")
        await mount.client.write("programs/.notes", "text")
        await mount.client.rename("programs/.notes", "programs/.old")
    async with open_vfs(state_dir=tmp_path) as mount:
        assert mount.client.ls("programs") == [".old", ".p.mlir"]
        assert mount.client.stat("programs/.p.mlir").mode & 0o777 == 0o640
        assert await mount.client.text("programs/.p.mlir") == ADD
        await mount.client.rename("programs/.p.mlir", "programs/p.mlir")
        assert await mount.client.ask("programs/p/call", REQUEST) == SUM
        mount.client.unlink("programs/.old")
    async with open_vfs(state_dir=tmp_path) as mount:
        assert mount.client.ls("programs") == ["p", "p.mlir"]
        assert len(list((tmp_path / "sources").iterdir())) == 1


async def test_programs_of_which_one_hid_the_other_are_both_reachable(tmp_path: Path) -> None:
    async with open_vfs(state_dir=tmp_path) as mount:
        await mount.client.write("programs/col.mlir", ADD)
        await mount.client.write("programs/other.mlir", DOUBLE)
    record = json.loads((tmp_path / "programs/other.json").read_text())
    del record["checksum"]  # as earlier versions wrote it
    (tmp_path / "programs/col.mlir.json").write_text(json.dumps({**record, "name": "col.mlir"}))
    (tmp_path / "programs/other.json").unlink()
    for _ in range(2):
        async with open_vfs(state_dir=tmp_path) as mount:
            assert mount.client.ls("programs") == ["col", "col.mlir", "col_mlir_", "col_mlir_.mlir"]
            assert await mount.client.text("programs/col.mlir") == ADD
            assert await mount.client.text("programs/col_mlir_.mlir") == DOUBLE
