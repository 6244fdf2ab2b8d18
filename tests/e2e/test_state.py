"""What outlives the daemon, and what happens when the state directory cannot be written."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import SAXPY, Mount, mounting


def test_programs_are_there_after_a_remount_and_do_not_compile_again(own_mount: Mount) -> None:
    own_mount.add("saxpy.mlir", SAXPY)
    os.chmod(own_mount.path / "programs/saxpy.mlir", 0o640)
    before = own_mount.keyed("programs/saxpy/status")
    executables = own_mount.state_dir / "executables"
    stamps = {path: path.stat().st_mtime_ns for path in executables.glob("*/executable")}
    own_mount.remount()
    assert own_mount.keyed("programs/saxpy/status") == before
    assert (own_mount.path / "programs/saxpy.mlir").read_text() == SAXPY
    assert (own_mount.path / "programs/saxpy.mlir").stat().st_mode & 0o777 == 0o640
    own_mount.sh("echo '[1,1,1,1] [0,0,0,0]' > programs/saxpy/calls/a")
    assert own_mount.sh("cat results/a.json").stdout.strip() == "[2.0, 2.0, 2.0, 2.0]"
    after = {path: path.stat().st_mtime_ns for path in executables.glob("*/executable")}
    assert after == stamps
    assert own_mount.keyed("health")["tracer"] == "idle"


def test_removed_program_stays_removed(own_mount: Mount) -> None:
    own_mount.add("saxpy.mlir", SAXPY)
    os.unlink(own_mount.path / "programs/saxpy.mlir")
    own_mount.remount()
    assert os.listdir(own_mount.path / "programs") == []


def test_lost_compile_cache_costs_only_time(own_mount: Mount) -> None:
    own_mount.add("saxpy.mlir", SAXPY)
    own_mount.stop()
    for path in own_mount.state_dir.glob("executables/*/executable"):
        path.unlink()
        (path.parent / "info.json").unlink()
    own_mount.start()
    own_mount.sh("echo '[1,1,1,1] [0,0,0,0]' > programs/saxpy/calls/a")
    assert own_mount.sh("cat results/a.json").stdout.strip() == "[2.0, 2.0, 2.0, 2.0]"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A state directory on a filesystem of 2 MiB."""
    disk = tmp_path / "state"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_full_disk_is_enospc_and_loses_nothing(small_disk: Path, tmp_path: Path) -> None:
    with mounting(tmp_path) as mount:
        mount.add("saxpy.mlir", SAXPY)
        filler = small_disk / "filler"
        filler.write_bytes(b"")
        with pytest.raises(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        with pytest.raises(OSError) as caught:
            mount.add("saxpy.mlir", SAXPY.replace("2.0", "5.0"))
        assert caught.value.errno == errno.ENOSPC
        assert (mount.path / "programs/saxpy/error").read_text().startswith("ENOSPC: ")
        mount.sh("echo '[1,1,1,1] [0,0,0,0]' > programs/saxpy/calls/a")
        assert mount.sh("cat results/a.json").stdout.strip() == "[2.0, 2.0, 2.0, 2.0]"
        filler.unlink()
        mount.add("saxpy.mlir", SAXPY.replace("2.0", "5.0"))
        assert (mount.path / "programs/saxpy/error").read_text() == "ok\n"
        mount.stop()


def test_write_limit_is_efbig(tmp_path: Path) -> None:
    with mounting(tmp_path, "max_write_bytes=100000") as mount:
        mount.add("saxpy.mlir", SAXPY)
        with pytest.raises(OSError) as caught:
            (mount.path / "programs/saxpy/calls/a").write_bytes(bytes(200000))
        assert caught.value.errno == errno.EFBIG
        assert "max_write_bytes" in (mount.path / "error_log").read_text()


def test_result_limit_is_enospc_until_results_are_removed(tmp_path: Path) -> None:
    with mounting(tmp_path, "max_result_bytes=40") as mount:
        mount.add("saxpy.mlir", SAXPY)
        for name in ("a", "b"):
            (mount.path / f"programs/saxpy/calls/{name}").write_text("[1,1,1,1] [0,0,0,0]\n")
            assert (mount.path / f"results/{name}").read_bytes()
        with pytest.raises(OSError) as caught:
            (mount.path / "programs/saxpy/calls/c").write_text("[1,1,1,1] [0,0,0,0]\n")
        assert caught.value.errno == errno.ENOSPC
        os.unlink(mount.path / "results/a")
        (mount.path / "programs/saxpy/calls/c").write_text("[1,1,1,1] [0,0,0,0]\n")
        assert mount.sh("cat results/c.json").stdout.strip() == "[2.0, 2.0, 2.0, 2.0]"
