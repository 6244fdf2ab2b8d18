"""The watchdog takes away dead mounts of jaxfs, and nothing else."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jaxfs.fuse import watchdog, watchdog_main
from mountctl import mounts

NOBODY = 65534
LIBC = ctypes.CDLL(None, use_errno=True)
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes mounts without a daemon")

Made = Callable[[str], Path]


@pytest.fixture
def made() -> Iterator[Made]:
    """Mounts of a type whose daemon is gone."""
    root = Path(tempfile.mkdtemp())  # pytest's own directories are closed to other users
    root.chmod(0o755)
    place = root / "a place"  # mountinfo escapes the blank
    place.mkdir()

    def make(fstype: str) -> Path:
        fd = os.open("/dev/fuse", os.O_RDWR)
        words = f"fd={fd},rootmode=40000,user_id={NOBODY},group_id={NOBODY},allow_other"
        done = LIBC.mount(b"test", os.fsencode(place), fstype.encode(), 6, words.encode())
        assert done == 0, os.strerror(ctypes.get_errno())
        os.close(fd)
        return place

    yield make
    LIBC.umount2(os.fsencode(place), watchdog_main.MNT_DETACH)
    place.rmdir()
    root.rmdir()


def is_mounted(place: Path) -> bool:
    return any(mount.mountpoint == str(place) for mount in all_mounts())


def all_mounts() -> list[mounts.MountInfo]:
    return mounts.parse(Path("/proc/self/mountinfo").read_text())


def watch(place: Path) -> None:
    """As it is run when the daemon is gone."""
    command = [sys.executable, "-I", "-S", str(watchdog.SCRIPT), str(place)]
    subprocess.run(command, check=True, timeout=30)


def test_dead_mount_is_taken_away(made: Made) -> None:
    place = made("fuse.jaxfs")
    assert watchdog_main.is_dead(str(place))
    watch(place)
    assert not is_mounted(place)


def test_dead_mount_is_taken_away_under_a_process_in_it(made: Made) -> None:
    place = made("fuse.jaxfs")
    holder = os.open(place, os.O_PATH)
    watch(place)
    assert not is_mounted(place)
    os.close(holder)


def test_mount_of_another_type_is_left_alone(made: Made) -> None:
    place = made("fuse.other")
    watch(place)
    assert is_mounted(place)


def test_nothing_mounted_is_no_error(tmp_path: Path) -> None:
    watch(tmp_path)


def test_plain_user_unmounts_by_fusermount(made: Made) -> None:
    place = made("fuse.jaxfs")
    child = os.fork()
    if not child:
        try:
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            watchdog_main.detach(str(place))
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert not is_mounted(place)
