"""Mounts, state directories and processes, as the commands read them from the real /proc."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mountctl import display, mounts, processes, statedir
from mountctl.timeouts import within

MOUNTINFO = r"""
36 35 98:0 / /mnt\040a rw,noatime master:1 - fuse.jaxfs jax\134fs rw,user_id=0
37 35 0:30 / /proc rw,nosuid - proc proc rw
""".strip()
paths = st.lists(st.text("ab+%.-", min_size=1), min_size=1).map(lambda parts: "/" + "/".join(parts))


def test_mountinfo_is_read_with_its_escapes() -> None:
    assert mounts.parse(MOUNTINFO) == [
        mounts.MountInfo("/mnt a", "fuse.jaxfs", "jax\\fs", "98:0", "rw,user_id=0"),
        mounts.MountInfo("/proc", "proc", "proc", "0:30", "rw"),
    ]


def test_own_mountinfo_is_read() -> None:
    text = Path("/proc/self/mountinfo").read_text()
    found = {mount.mountpoint for mount in mounts.parse(text)}
    assert "/proc" in found
    assert all(path.startswith("/") for path in found)  # some may lie under others: not looked at


@given(paths, paths)
def test_mount_points_have_state_dirs_of_their_own(one: str, other: str) -> None:
    assert (statedir.default(one) == statedir.default(other)) == (one == other)
    assert len(statedir.default(one).parts) <= len(statedir.default("/jax").parts)


def test_failure_removes_only_the_directories_that_were_created(tmp_path: Path) -> None:
    def prepare_and_fail() -> None:
        with statedir.prepared(tmp_path / "a/b", "/jax") as made:
            (made / "log").touch()
            assert made.stat().st_mode & 0o777 == 0o700
            raise RuntimeError

    with pytest.raises(RuntimeError):
        prepare_and_fail()
    assert tmp_path.is_dir()
    assert not (tmp_path / "a").exists()


def test_failure_keeps_a_state_dir_that_was_there(tmp_path: Path) -> None:
    (tmp_path / "programs").mkdir()
    with pytest.raises(RuntimeError), statedir.prepared(tmp_path, "/jax"):
        raise RuntimeError
    assert (tmp_path / "programs").is_dir()


def test_within_returns_what_was_read(tmp_path: Path) -> None:
    (tmp_path / "version").write_text("jaxfs 1")
    assert within(10, (tmp_path / "version").read_text) == "jaxfs 1"


def test_within_raises_what_the_child_raised(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        within(10, (tmp_path / "version").read_text)


def test_within_gives_up_after_its_time() -> None:
    with pytest.raises(TimeoutError):
        within(0.01, signal.pause)


def test_daemon_is_known_by_its_command_line() -> None:
    command = ["python", "-P", "-m", "jaxfs", '{"mountpoint":"/jax","state_dir":"/s"}']
    assert processes.document_of(command) == processes.DaemonDocument("/jax", "/s")


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["bash"],
        ["python", "-m", "jaxfs", "{"],
        ["python", "-m", "jaxfs", '{"mountpoint":"/\udcff","state_dir":"/s"}'],  # not UTF-8
        ["python", "-m", "jaxfs.engine.worker.main", "{}"],
    ],
)
def test_other_command_lines_are_no_daemons(command: list[str]) -> None:
    assert processes.document_of(command) is None


def test_holders_are_found_by_directory_and_by_open_file(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print(flush=True); input()"]
    with (tmp_path / "data").open("w"), talking(command, tmp_path) as child:
        found = {holder.pid: holder for holder in processes.holders(str(tmp_path))}
        assert found[child.pid] == processes.HoldingProcess(
            child.pid, " ".join(command), "cwd", str(tmp_path)
        )
        assert found[os.getpid()].how.startswith("fd ")
    assert processes.holders(str(tmp_path)) == []


@contextmanager
def talking(command: list[str], cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has written its first line and runs until its input ends."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=cwd, stdin=pipe, stdout=pipe, stderr=pipe) as child:
        assert child.stdout is not None
        child.stdout.readline()
        yield child
        child.communicate()


def test_mapped_files_count_as_used() -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"x")
        file.flush()
        with mmap.mmap(file.fileno(), 0):
            assert ("mmap", file.name) in set(processes._open_paths(os.getpid()))


def test_end_of_a_process_is_seen() -> None:
    cat = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    with cat, processes.ProcessHandle(cat.pid) as handle:
        assert not handle.ends_within(0)
        cat.communicate()
        assert handle.ends_within(10)


def test_durations_are_written_for_people() -> None:
    assert display.duration(3_723_999_999) == "01:02:03"
    assert display.duration(180_000_000_000) == "2d 02:00:00"
