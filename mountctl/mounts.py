"""Mounts as the kernel has them: which there are, whether they live, taking them away."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import subprocess
from pathlib import Path

import attrs

from mountctl.deadline import within
from mountctl.errors import Busy, UnmountFailed

FSTYPE = "fuse.jaxfs"
ANSWER_S = 2.0  # a mount that takes longer to tell its state counts as hung
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8  # sys/mount.h
_OCTAL = re.compile(r"\\([0-7]{3})")  # how mountinfo writes space, tab, newline and backslash


@attrs.frozen
class Mount:
    """One line of mountinfo(5)."""

    mountpoint: str
    fstype: str
    source: str


def _unescape(text: str) -> str:
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), text)


def parse(mountinfo: str) -> list[Mount]:
    """The lines of a mountinfo file, in its order: later ones lie over earlier ones."""
    found = []
    for row in mountinfo.splitlines():
        left, _, right = row.partition(" - ")
        fstype, source = right.split(" ")[:2]
        found.append(Mount(_unescape(left.split(" ")[4]), fstype, _unescape(source)))
    return found


def jaxfs_mounts() -> list[Mount]:
    """All mounts of jaxfs this process can see."""
    text = Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
    return [mount for mount in parse(text) if mount.fstype == FSTYPE]


def is_mounted(mountpoint: str) -> bool:
    """Whether a jaxfs, alive or dead, is mounted there."""
    return any(mount.mountpoint == mountpoint for mount in jaxfs_mounts())


def locate(directory: str) -> str:
    """The absolute path of what a user named, without asking a mount that may hang."""
    path = os.path.abspath(directory)  # noqa: PTH100  # Path.absolute keeps `..`
    return path if is_mounted(path) else os.path.realpath(path)


def is_stale(mountpoint: str) -> bool:
    """Whether the daemon behind a mount is gone."""
    try:
        within(ANSWER_S, lambda: Path(mountpoint).stat().st_ino)
    except TimeoutError:
        return False
    except OSError as error:
        return error.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    return False


def unmount(mountpoint: str, *, lazy: bool = False) -> None:
    """Take the topmost mount away.  Raises Busy, UnmountFailed."""
    libc = ctypes.CDLL(None, use_errno=True)
    flags = UMOUNT_NOFOLLOW | (MNT_DETACH if lazy else 0)
    if libc.umount2(os.fsencode(mountpoint), flags) == 0:
        return
    number = ctypes.get_errno()
    if number == errno.EPERM:
        _fusermount(mountpoint, lazy=lazy)
    elif number == errno.EBUSY:
        raise Busy(f"{mountpoint} is in use")
    else:
        raise UnmountFailed(f"cannot unmount {mountpoint}: {os.strerror(number)}")


def _fusermount(mountpoint: str, *, lazy: bool) -> None:
    program = shutil.which("fusermount3")
    if program is None:
        raise UnmountFailed(f"cannot unmount {mountpoint}: fusermount3 is missing; install fuse3")
    command = [program, "-u", *(["-z"] if lazy else []), "--", mountpoint]
    done = subprocess.run(command, env={"LC_ALL": "C"}, capture_output=True, text=True, check=False)
    if done.returncode and "busy" in done.stderr:
        raise Busy(f"{mountpoint} is in use")
    if done.returncode:
        raise UnmountFailed(f"cannot unmount {mountpoint}: {done.stderr.strip()}")
