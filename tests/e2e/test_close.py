"""close(2): what is committed, and by which process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from tests.conftest import SAXPY, Mount

WRITER = """
import os, sys, time
file = open(sys.argv[1], "wb", buffering=0)
file.write(sys.argv[2].encode())
print("written", flush=True)
time.sleep(600)
"""


def killed_while_writing(mount: Mount, name: str, text: str) -> None:
    """A process that is killed between write(2) and close(2)."""
    command = [sys.executable, "-c", WRITER, str(mount.path / name), text]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "written\n"
        writer.send_signal(signal.SIGKILL)


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
