"""-o keep_arrays: arrays outlive the daemon."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import trio
from safetensors.numpy import save as save_safetensors

from jaxfs.arrays import persistence
from jaxfs.arrays.persistence import ArrayStore
from jaxfs.ipc import shared_memory
from jaxfs.options import Options
from jaxfs.testing import eventually_async, open_vfs
from tests.unmounted import npy_of

KEEP = Options(keep_arrays=True)


async def test_arrays_are_there_after_a_remount(tmp_path: Path) -> None:
    tree = {"w": np.ones(100_000, np.float32), "b": np.array([1, 2], np.float32)}
    async with open_vfs(KEEP, state_dir=tmp_path) as mount:
        await mount.client.write("arrays/small", "[1, 2]", mode=0o600)
        await mount.user(1001).write("arrays/tree", save_safetensors(tree))
        before = mount.client.stat("arrays/small")
    async with open_vfs(KEEP, state_dir=tmp_path) as mount:
        assert mount.client.ls("arrays") == ["small", "tree"]
        after = mount.client.stat("arrays/small")
        assert (after.mtime_ns, after.mode, after.size) == (
            before.mtime_ns,
            before.mode,
            before.size,
        )
        assert mount.client.stat("arrays/tree").uid == 1001
        assert await mount.client.read("arrays/tree.b.raw") == tree["b"].tobytes()
        assert await mount.client.read("arrays/tree.w.raw") == tree["w"].tobytes()
        assert (await mount.client.keyed("health"))["result_bytes"] == "400016"
        mount.client.unlink("arrays/tree")
        await mount.client.write("arrays/small", "[3]")
    async with open_vfs(KEEP, state_dir=tmp_path) as mount:
        assert mount.client.ls("arrays") == ["small"]
        assert await mount.client.read("arrays/small.json") == b"[3]\n"


async def test_arrays_are_read_by_a_kernel_with_pages_of_another_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.arange(100_000, dtype=np.float32)
    async with open_vfs(KEEP, state_dir=tmp_path) as mount:
        await mount.client.write("arrays/w", npy_of(values))
    monkeypatch.setattr(shared_memory, "PAGE_BYTES", 65536)
    monkeypatch.setattr(persistence, "PAGE_BYTES", 65536, raising=False)
    async with open_vfs(KEEP, state_dir=tmp_path) as mount:
        assert await mount.client.read("arrays/w.raw") == values.tobytes()


async def test_without_the_option_nothing_is_kept(tmp_path: Path) -> None:
    async with open_vfs(state_dir=tmp_path) as mount:
        await mount.client.write("arrays/w", "[1]")
    async with open_vfs(KEEP, state_dir=tmp_path) as mount:
        assert mount.client.ls("arrays") == []


async def test_arrays_over_a_limit_that_was_higher_stay(tmp_path: Path) -> None:
    async with open_vfs(KEEP, state_dir=tmp_path) as mount:
        await mount.client.write("arrays/w", npy_of(np.ones(100)))
    options = Options(keep_arrays=True, max_result_bytes=10)
    async with open_vfs(options, state_dir=tmp_path) as mount:
        assert mount.client.ls("arrays") == ["w"]
        mount.client.unlink("arrays/w")


@pytest.mark.parametrize("cut", [1, 10, 4100, 100_000])
@pytest.mark.parametrize("length", [10, 100_000])
async def test_a_file_that_is_cut_short_is_left_and_logged(
    cut: int, length: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_vfs(KEEP, state_dir=tmp_path) as mount:
        await mount.client.write("arrays/w", npy_of(np.ones(length)))
        await mount.client.write("arrays/v", "[1]")
    path = tmp_path / "arrays/w.array"
    data = path.read_bytes()
    path.write_bytes(data[: max(0, min(cut, len(data) - 1))])
    async with open_vfs(KEEP, state_dir=tmp_path) as mount:
        assert mount.client.ls("arrays") == ["v"]
    assert "w.array is damaged and is left out" in caplog.text
    assert path.exists()


async def test_only_what_changed_is_written_again_and_what_is_gone_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jaxfs.arrays.persistence.PAUSE_S", 0.01)
    async with open_vfs(state_dir=tmp_path / "state") as mount, trio.open_nursery() as nursery:
        store = ArrayStore(mount.mount.calls.arrays, tmp_path)
        nursery.start_soon(store.run)
        await mount.client.write("arrays/v", "[1]")
        await mount.client.write("arrays/w", "[1]")
        v, w = tmp_path / "v.array", tmp_path / "w.array"
        await eventually_async(lambda: v.exists() and w.exists())
        before = v.stat().st_ino, w.stat().st_ino
        await mount.client.write("arrays/v", "[2]")
        await eventually_async(lambda: v.stat().st_ino != before[0])
        assert w.stat().st_ino == before[1]
        mount.client.unlink("arrays/w")
        await mount.client.chmod("arrays/v", 0o600)
        await eventually_async(lambda: b'"mode":384' in v.read_bytes())
        await eventually_async(lambda: not w.exists())
        nursery.cancel_scope.cancel()


async def test_a_disk_that_is_full_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    async with open_vfs() as mount:
        store = ArrayStore(mount.mount.calls.arrays, tmp_path)
        await mount.client.write("arrays/w", "[1]")
        monkeypatch.setattr("os.fsync", full)
        await store.save()
        assert "arrays/w will not be there after a remount" in caplog.text
        assert os.listdir(tmp_path) == []
        monkeypatch.undo()
        await store.save()
        assert os.listdir(tmp_path) == ["w.array"]
