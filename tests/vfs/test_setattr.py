"""chmod(2), chown(2), utimensat(2), truncate(2)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jaxfs.errors import NotPermitted
from jaxfs.testing import open_vfs
from tests.unmounted import ADD, ALICE, DOUBLE, serving

FILES = ("programs/add.mlir", "programs/.new", "results/1", "arrays/w", "programs/add/calls/1")


@pytest.mark.parametrize(
    ("path", "mode", "becomes"),
    [
        ("programs/add.mlir", 0o640, 0o640),
        ("programs/.new", 0o777, 0o666),
        ("programs/add/call", 0o666, 0o666),
        ("programs/add/status", 0o777, 0o444),
        ("programs/add/calls/1", 0o600, 0o600),
        ("results/1", 0o666, 0o444),
        ("results/1.txt", 0o400, 0o400),
        ("results/1.status", 0o440, 0o440),
        ("arrays/w", 0o777, 0o666),
        ("arrays/w.txt", 0o600, 0o400),
    ],
)
async def test_chmod_keeps_the_bits_a_file_has_a_use_for(
    path: str, mode: int, becomes: int
) -> None:
    async with serving(add=ADD) as mount:
        await mount.client.write("programs/.new", "x")
        await mount.client.write("programs/add/calls/1", "[1, 2] [3, 4]")
        await mount.client.write("arrays/w", "1")
        await mount.client.chmod(path, mode)
        assert mount.client.stat(path).mode & 0o7777 == becomes


@pytest.mark.parametrize("path", ["", "version", "programs", "devices/cpu:0"])
async def test_the_mounts_own_files_keep_mode_and_owner(path: str) -> None:
    async with serving(add=ADD) as mount:
        with pytest.raises(NotPermitted, match="keep their modes"):
            await mount.user(0).chmod(path, 0o700)
        with pytest.raises(NotPermitted, match="keep their owner"):
            await mount.user(0).chown(path, ALICE)


async def test_chown_gives_a_program_with_all_its_files_away() -> None:
    async with serving(add=ADD) as mount:
        await mount.user(0).chown("programs/add.mlir", ALICE, 7)
        found = mount.client.stat("programs/add/status")
        assert (found.uid, found.gid) == (ALICE, 7)
        await mount.user(0).chown("programs/add.mlir", uid=None, gid=8)
        assert mount.client.stat("programs/add").uid == ALICE
        with pytest.raises(NotPermitted):
            await mount.client.chown("programs/add.mlir", ALICE)
        with pytest.raises(NotPermitted):
            await mount.client.chmod("programs/add.mlir", 0o600)


async def test_times_can_be_set_and_a_commit_keeps_them() -> None:
    async with serving(add=ADD) as mount:
        await mount.client.utime("programs/add.mlir", 1, 2)
        found = mount.client.stat("programs/add.mlir")
        assert (found.atime_ns, found.mtime_ns) == (1, 2)
        async with mount.client.open("programs/add.mlir", os.O_WRONLY | os.O_TRUNC) as file:
            await file.write(DOUBLE.encode())
            await mount.client.utime("programs/add.mlir", None, 3)
        found = mount.client.stat("programs/add.mlir")
        assert (found.atime_ns, found.mtime_ns) == (1, 3)


async def test_a_program_written_again_has_a_new_time() -> None:
    async with serving(add=ADD) as mount:
        await mount.client.utime("programs/add.mlir", None, 2)
        await mount.client.write("programs/add.mlir", ADD)
        assert mount.client.stat("programs/add.mlir").mtime_ns > 2


async def test_truncate_by_path_commits_what_is_left() -> None:
    async with serving(add=ADD) as mount:
        await mount.client.write("programs/.new", "123456")
        await mount.client.truncate("programs/.new", 3)
        assert await mount.client.read("programs/.new") == b"123"
        with pytest.raises(NotPermitted, match="a directory"):
            await mount.client.truncate("programs", 3)


async def test_a_mode_that_was_changed_outlives_the_daemon_with_the_program(
    tmp_path: Path,
) -> None:
    async with open_vfs(state_dir=tmp_path) as mount:
        await mount.client.write("programs/add.mlir", ADD)
        await mount.client.chmod("programs/add/call", 0o600)
    async with open_vfs(state_dir=tmp_path) as mount:
        assert mount.client.stat("programs/add/call").mode & 0o777 == 0o600
