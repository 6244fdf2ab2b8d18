"""Faults that were found once, each by its name."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from tests.conftest import SAXPY, Mount

BIG_BYTES = 1 << 20
BIG = """
func.func public @main(%x: tensor<262144xf32>) -> (tensor<262144xf32> {jax.result_info = "y"}) {
  %0 = stablehlo.add %x, %x : tensor<262144xf32>
  return %0 : tensor<262144xf32>
}
"""
WRITER = """
import os, sys, time
file = open(sys.argv[1], "wb", buffering=0)
file.write(sys.argv[2].encode())
print("written", flush=True)
time.sleep(600)
"""


def submit_big(mount: Mount, name: str, value: float) -> None:
    data = np.full(BIG_BYTES // 4, value, np.float32).tobytes()
    (mount.path / f"programs/big/calls/{name}.raw").write_bytes(data)


def killed_while_writing(mount: Mount, name: str, text: str) -> None:
    """A process that is killed between write(2) and close(2)."""
    command = [sys.executable, "-c", WRITER, str(mount.path / name), text]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "written\n"
        writer.send_signal(signal.SIGKILL)


def test_open_result_keeps_its_bytes_when_it_is_removed(mount: Mount) -> None:
    """The memory went back to the pool, and the reader got what the next caller wrote."""
    mount.add("big.mlir", BIG)
    submit_big(mount, "mine", 1.0)
    with open(mount.path / "results/mine.raw", "rb", buffering=0) as file:
        os.unlink(mount.path / "results/mine")
        for number in range(4):
            submit_big(mount, f"other{number}", 100.0)
            (mount.path / f"results/other{number}").read_bytes()
        assert set(np.frombuffer(file.read(BIG_BYTES), np.float32)) == {2.0}


def test_early_result_keeps_its_bytes_when_it_is_removed(mount: Mount) -> None:
    mount.add("big.mlir", BIG)
    submit_big(mount, "mine", 1.0)
    fd = os.open(mount.path / "results/mine.raw", os.O_RDONLY | os.O_NONBLOCK)
    (mount.path / "results/mine").read_bytes()
    assert np.frombuffer(os.read(fd, 4), np.float32) == 2.0
    os.unlink(mount.path / "results/mine")
    submit_big(mount, "other", 100.0)
    (mount.path / "results/other").read_bytes()
    assert np.frombuffer(os.pread(fd, 4, BIG_BYTES - 4), np.float32) == 2.0
    os.close(fd)


@pytest.mark.parametrize("name", ["saxpy.mlir", ".saxpy"])
def test_cp_p_keeps_the_time(mount: Mount, name: str) -> None:
    """cp sets the time before it closes the file, and the commit at close changed it."""
    source = mount.path.parent / "saxpy.mlir"
    source.write_text(SAXPY)
    os.utime(source, (1_000_000_000, 1_000_000_000))
    mount.sh(f"cp -p ../saxpy.mlir programs/{name}")
    assert (mount.path / f"programs/{name}").stat().st_mtime == 1_000_000_000


def test_program_written_again_has_a_new_time(mount: Mount) -> None:
    """Also with the same bytes; make(1) copied it each time."""
    mount.add("saxpy.mlir", SAXPY)
    source = mount.path / "programs/saxpy.mlir"
    os.utime(source, (1_000_000_000, 1_000_000_000))
    mount.add("saxpy.mlir", SAXPY)
    assert source.stat().st_mtime > 1_000_000_000


def test_staging_file_can_be_emptied(mount: Mount) -> None:
    staged = mount.path / "programs/.notes"
    staged.write_text("something")
    staged.write_text("")
    assert staged.read_bytes() == b""
    assert staged.stat().st_size == 0


def test_program_can_change_its_extension(mount: Mount) -> None:
    mount.add("saxpy.mlir", SAXPY)
    mount.sh("mv programs/saxpy.mlir programs/saxpy.mlirbc")
    assert sorted(os.listdir(mount.path / "programs")) == ["saxpy", "saxpy.mlirbc"]
    assert (mount.path / "programs/saxpy.mlirbc").read_text() == SAXPY


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


def test_failed_rename_leaves_a_failed_program_as_it_was(mount: Mount) -> None:
    with pytest.raises(OSError):
        mount.add("bad.mlir", "first")
    (mount.path / "programs/.new").write_text("second")
    with pytest.raises(OSError):
        os.rename(mount.path / "programs/.new", mount.path / "programs/bad.mlir")
    assert (mount.path / "programs/bad.mlir").read_text() == "first"


def test_call_removed_while_it_is_written_is_not_submitted(mount: Mount) -> None:
    """It ran, and the memory of a result that nobody can remove stayed in use."""
    mount.add("saxpy.mlir", SAXPY)
    fd = os.open(mount.path / "programs/saxpy/calls/a", os.O_WRONLY | os.O_CREAT)
    os.write(fd, b"[1,1,1,1] [0,0,0,0]\n")
    os.unlink(mount.path / "programs/saxpy/calls/a")
    with pytest.raises(OSError) as caught:
        os.close(fd)
    assert caught.value.errno == errno.ECANCELED
    assert mount.keyed("health")["result_bytes"] == "0"


def test_killed_writer_submits_no_half_call(mount: Mount) -> None:
    """A number cut short is a number, too."""
    mount.add("twice.mlir", SAXPY.replace("4xf32", "f32"))
    killed_while_writing(mount, "programs/twice/calls/a", "1 23")
    assert os.listdir(mount.path / "results") == []


def test_killed_writer_replaces_no_program_by_half_of_one(mount: Mount) -> None:
    mount.add("saxpy.mlir", SAXPY)
    killed_while_writing(mount, "programs/saxpy.mlir", SAXPY.replace("2.0", "5.0"))
    assert (mount.path / "programs/saxpy.mlir").read_text() == SAXPY
    assert (mount.path / "programs/saxpy/error").read_text() == "ok\n"


@pytest.mark.parametrize("name", ["programs/a.mlir", "programs/saxpy/calls/a"])
def test_process_started_while_writing_commits_nothing(mount: Mount, name: str) -> None:
    """exec closes the file in the child; the flush that the kernel makes of it is not the end."""
    mount.add("saxpy.mlir", SAXPY)
    whole = SAXPY if name.endswith(".mlir") else "[1,1,1,1] [0,0,0,0]"
    with open(mount.path / name, "w") as file:
        file.write(whole[:9])
        file.flush()
        subprocess.run(["true"], check=True)
        assert os.listdir(mount.path / "results") == []
        if name.endswith(".mlir"):
            assert "nothing was written" in (mount.path / "programs/a/error").read_text()
        file.write(whole[9:])
    assert mount.keyed("health")["internal_errors"] == "0"
    error = "programs/a/error" if name.endswith(".mlir") else "results/a.error"
    assert (mount.path / error).read_text() == "ok\n"


def test_process_started_after_a_truncation_commits_nothing(mount: Mount) -> None:
    """ftruncate is a write, too."""
    mount.add("a.mlir", SAXPY)
    with open(mount.path / "programs/a.mlir", "r+") as file:
        os.ftruncate(file.fileno(), 100)
        subprocess.run(["true"], check=True)
        assert (mount.path / "programs/a/error").read_text() == "ok\n"
        file.write(SAXPY)


def test_thread_may_close_what_another_wrote(mount: Mount) -> None:
    fd = os.open(mount.path / "programs/a.mlir", os.O_WRONLY | os.O_CREAT)
    thread = threading.Thread(target=os.write, args=(fd, SAXPY.encode()))
    thread.start()
    thread.join()
    os.close(fd)
    assert mount.keyed("programs/a/status")["state"] == "ready"


def test_killed_writer_leaves_what_it_wrote_in_a_staging_file(mount: Mount) -> None:
    killed_while_writing(mount, "programs/.draft.swp", "half")
    assert (mount.path / "programs/.draft.swp").read_text() == "half"


def test_unsubmitted_call_of_a_removed_program_frees_its_id(mount: Mount) -> None:
    mount.add("a.mlir", SAXPY)
    mount.add("b.mlir", SAXPY)
    mount.sh(": > programs/a/calls/job")
    os.unlink(mount.path / "programs/a.mlir")
    mount.sh("echo '[1,1,1,1] [0,0,0,0]' > programs/b/calls/job; cat results/job > /dev/null")


def test_df_does_not_say_that_inodes_are_used_up(mount: Mount) -> None:
    assert os.statvfs(mount.path).f_files == 0
