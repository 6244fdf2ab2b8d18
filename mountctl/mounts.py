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

from mountctl.errors import Busy, NoMountPoint, UnmountFailed
from mountctl.timeouts import within

FSTYPE = "fuse.jaxfs"
ANSWER_S = 2.0  # a mount that takes longer to tell its state counts as hung
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8  # sys/mount.h
_OCTAL = re.compile(r"\\([0-7]{3})")  # how mountinfo writes space, tab, newline and backslash


@attrs.frozen
class MountInfo:
    """One line of mountinfo(5)."""

    mountpoint: str
    fstype: str
    source: str
    device: str = ""  # major:minor
    options: str = ""  # the filesystem's


def _unescape(text: str) -> str:
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), text)


def parse(mountinfo: str) -> list[MountInfo]:
    """The lines of a mountinfo file, in its order: later ones lie over earlier ones."""
    found = []
    for row in mountinfo.splitlines():
        left, _, right = row.partition(" - ")
        fstype, source, options = right.split(" ")[:3]
        _, _, device, _, mountpoint, *_ = left.split(" ")
        found.append(MountInfo(_unescape(mountpoint), fstype, _unescape(source), device, options))
    return found


def all_mounts() -> list[MountInfo]:
    """All mounts this process can see."""
    return parse(Path("/proc/self/mountinfo").read_text(errors="surrogateescape"))


def jaxfs_mounts() -> list[MountInfo]:
    """Those of jaxfs."""
    return [mount for mount in all_mounts() if mount.fstype == FSTYPE]


def is_mounted(mountpoint: str) -> bool:
    """Whether a jaxfs, alive or dead, is mounted there."""
    return any(mount.mountpoint == mountpoint for mount in jaxfs_mounts())


def locate(directory: str) -> str:
    """The absolute path of what a user named, without asking a mount that may hang."""
    path = os.path.abspath(directory)  # noqa: PTH100  # Path.absolute keeps `..`
    return path if is_mounted(path) else os.path.realpath(path)


def descriptor(directory: str) -> int:
    """The N of /dev/fd/N, which stands for a session that mount.fuse3 has opened; or -1."""
    found = re.fullmatch(r"/dev/fd/(\d+)", directory, re.ASCII)
    return int(found[1]) if found else -1


def mounted_by(session_fd: int) -> str:
    """Where an opened session is mounted.  Raises NoMountPoint.

    Linux tells since 6.16: "fuse_connection" is the minor number of the filesystem's device.
    """
    try:
        text = Path(f"/proc/self/fdinfo/{session_fd}").read_text()
    except OSError:
        raise NoMountPoint(f"/dev/fd/{session_fd} is not open") from None
    number = re.search(r"^fuse_connection:\s*(\d+)", text, re.MULTILINE)
    places = [m.mountpoint for m in all_mounts() if number and m.device == f"0:{number[1]}"]
    if not places:
        raise NoMountPoint(
            f"/dev/fd/{session_fd} is no mounted FUSE session whose place this kernel tells"
            " (Linux 6.16 does); name the directory instead"
        )
    return places[-1]


def _topmost(mountpoint: str) -> MountInfo:
    return next(mount for mount in reversed(all_mounts()) if mount.mountpoint == mountpoint)


def device_of(mountpoint: str) -> str:
    """The number of the mounted filesystem, which is the same in every namespace."""
    return _topmost(mountpoint).device


def enforces_modes(mountpoint: str) -> bool:
    """Whether file modes count for those that may get in."""
    words = _topmost(mountpoint).options.split(",")
    return "default_permissions" in words or "allow_other" not in words


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
