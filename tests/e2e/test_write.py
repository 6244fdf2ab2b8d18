"""write(2): programs that are compiled, and what does not fit."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import SAXPY, Mount, mounting
from tests.e2e.programs import DOUBLE
from tests.e2e.requests import (
    refuses_program,
)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A state directory on a filesystem of 2 MiB."""
    disk = tmp_path / "state"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_cp_compiles_a_program(mount: Mount) -> None:
    (mount.path.parent / "saxpy.mlir").write_text(SAXPY)
    mount.sh("cp ../saxpy.mlir programs/")
    status = mount.keyed("programs/saxpy/status")
    assert status["state"] == "ready"
    assert status["source_format"] == "stablehlo_text"
    assert int(status["compile_usec"]) > 0


def test_bad_program_fails_the_write_with_the_reason_beside_it(mount: Mount) -> None:
    assert refuses_program(mount, "bad.mlir", "this is not a program") == errno.EINVAL
    assert (mount.path / "programs/bad/error").read_text().startswith("EINVAL: ")
    assert mount.keyed("programs/bad/status")["state"] == "failed"


def test_bad_program_fails_cp(mount: Mount) -> None:
    (mount.path.parent / "bad.mlir").write_text("func.func @main(")
    done = mount.sh("cp ../bad.mlir programs/", check=False)
    assert done.returncode != 0
    assert "Invalid argument" in done.stderr


def test_failed_overwrite_leaves_the_previous_program_serving(mount: Mount) -> None:
    saxpy = mount.add("saxpy.mlir", SAXPY)
    assert refuses_program(mount, "saxpy.mlir", "garbage") == errno.EINVAL
    assert mount.keyed("programs/saxpy/status")["state"] == "ready"
    assert (saxpy / "error").read_text().startswith("EINVAL: ")
    assert (mount.path / "programs/saxpy.mlir").read_text() == SAXPY
    mount.sh("echo '[1,1,1,1] [0,0,0,0]' > programs/saxpy/calls/a")
    assert mount.sh("cat results/a.json").stdout.strip() == "[2.0, 2.0, 2.0, 2.0]"


def test_overwrite_replaces_the_program(mount: Mount) -> None:
    saxpy = mount.add("saxpy.mlir", SAXPY)
    mount.add("saxpy.mlir", DOUBLE)
    assert (saxpy / "error").read_text() == "ok\n"
    mount.sh("echo '[1,1,1,1] [0,0,0,0]' > programs/saxpy/calls/a")
    assert mount.sh("cat results/a.json").stdout.strip() == "[4.0, 4.0, 4.0, 4.0]"


def test_flush_with_nothing_written_does_nothing(mount: Mount) -> None:
    mount.add("saxpy.mlir", SAXPY)
    mount.sh(": >> programs/saxpy.mlir")
    assert mount.keyed("programs/saxpy/status")["state"] == "ready"
    assert (mount.path / "programs/saxpy/error").read_text() == "ok\n"


def test_source_may_arrive_in_any_writes_at_any_offsets(mount: Mount) -> None:
    data = SAXPY.encode()
    fd = os.open(mount.path / "programs/saxpy.mlir", os.O_WRONLY | os.O_CREAT)
    half = len(data) // 2
    os.pwrite(fd, data[half:], half)
    for start in range(0, half, 100):
        os.pwrite(fd, data[start : min(start + 100, half)], start)
    os.close(fd)
    assert mount.keyed("programs/saxpy/status")["state"] == "ready"


def test_same_content_compiles_once_whoever_writes_it(mount: Mount) -> None:
    source = SAXPY.replace("@saxpy", "@once").replace("2.0", "3.25")
    threads = [
        threading.Thread(target=mount.add, args=(f"p{number}.mlir", source)) for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses = [mount.keyed(f"programs/p{number}/status") for number in range(8)]
    assert {status["state"] for status in statuses} == {"ready"}
    assert len({status["compile_usec"] for status in statuses}) == 1


def test_staging_file_can_be_emptied(mount: Mount) -> None:
    staged = mount.path / "programs/.notes"
    staged.write_text("something")
    staged.write_text("")
    assert staged.read_bytes() == b""
    assert staged.stat().st_size == 0


def test_appender_appends_though_another_writer_is_longer(mount: Mount) -> None:
    """The kernel's idea of the size is the other writer's; a gap of zeros came in between."""
    staged = mount.path / "programs/.log"
    staged.write_text("one\n")
    with open(staged, "r+") as other, open(staged, "a") as appender:
        other.write("a much longer text\n")
        other.flush()
        appender.write("two\n")
        appender.close()
        assert staged.read_text() == "one\ntwo\n"


def test_full_disk_is_enospc_and_loses_nothing(small_disk: Path, tmp_path: Path) -> None:
    with mounting(tmp_path) as mount:
        mount.add("saxpy.mlir", SAXPY)
        filler = small_disk / "filler"
        filler.write_bytes(b"")
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
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
