"""The mounts that the kernel has: lists them, checks whether they answer, unmounts them."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import subprocess
from pathlib import Path

import attrs
import click

from mountctl.errors import Busy, NoMountPoint, NotMounted, UnmountFailed
from mountctl.timeouts import within

FSTYPE = "fuse.jaxfs"
ANSWER_S = 2.0  # a mount that takes longer to answer counts as hung
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8  # sys/mount.h
_OCTAL = re.compile(r"\\([0-7]{3})")  # how mountinfo writes space, tab, newline and backslash


@attrs.frozen
class MountInfo:
    """One line of mountinfo(5).

    Attributes:
        mountpoint: Absolute path.
        fstype: Such as ``fuse.jaxfs``.
        source: The name that mount(8) shows before "on".
        device: ``major:minor``, the same in every mount namespace.
        options: Those of the filesystem, separated by commas.
    """

    mountpoint: str
    fstype: str
    source: str
    device: str = ""
    options: str = ""

    @property
    def enforces_modes(self) -> bool:
        """Whether file modes restrict all users that can reach the mount."""
        words = self.options.split(",")
        return "default_permissions" in words or "allow_other" not in words


def parse(mountinfo: str) -> list[MountInfo]:
    r"""Returns the lines of a mountinfo file, in its order: later mounts cover earlier ones.

    >>> [mount] = parse(r"36 35 0:98 / /a\040b rw - fuse.jaxfs lab rw,user_id=0")
    >>> mount.mountpoint, mount.source, mount.device
    ('/a b', 'lab', '0:98')
    """
    found = []
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fstype, source, options = right.split(" ")[:3]
        _, _, device, _, mountpoint, *_ = left.split(" ")
        found.append(MountInfo(_unescape(mountpoint), fstype, _unescape(source), device, options))
    return found


def _unescape(text: str) -> str:
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), text)


def all_mounts() -> list[MountInfo]:
    """Returns all mounts of this process's namespace."""
    return parse(Path("/proc/self/mountinfo").read_text(errors="surrogateescape"))


def jaxfs_mounts() -> list[MountInfo]:
    """Returns the mounts of jaxfs."""
    return [mount for mount in all_mounts() if mount.fstype == FSTYPE]


def is_mounted(mountpoint: str) -> bool:
    """Returns whether a jaxfs is mounted there, with or without a living daemon."""
    return any(mount.mountpoint == mountpoint for mount in jaxfs_mounts())


def require_mounted(mountpoint: str) -> None:
    """Raises NotMounted if no jaxfs is mounted there."""
    if not is_mounted(mountpoint):
        raise NotMounted(f"no jaxfs is mounted on {mountpoint}; mountctl status lists the mounts")


def locate(directory: str) -> str:
    """Returns the absolute path of a directory; does not touch a mount, which may hang."""
    path = os.path.abspath(directory)  # noqa: PTH100  # Path.absolute keeps `..`
    return path if is_mounted(path) else os.path.realpath(path)


def mounted_by(session_fd: int) -> str:
    """Returns where an open FUSE session is mounted.

    Linux shows it since 6.16: "fuse_connection" in fdinfo is the minor number of the filesystem's
    device.

    Raises:
        NoMountPoint: if the descriptor is no session, or the kernel does not show where it is.
    """
    try:
        text = Path(f"/proc/self/fdinfo/{session_fd}").read_text()
    except OSError:
        raise NoMountPoint(f"/dev/fd/{session_fd} is not open") from None
    number = re.search(r"^fuse_connection:\s*(\d+)", text, re.MULTILINE)
    places = [m.mountpoint for m in all_mounts() if number and m.device == f"0:{number[1]}"]
    if not places:
        raise NoMountPoint(
            f"/dev/fd/{session_fd} is no mounted FUSE session whose place this kernel shows"
            " (Linux 6.16 does); name the directory instead"
        )
    return places[-1]


def topmost(mountpoint: str) -> MountInfo:
    """Returns the mount on a directory that covers the others there."""
    return next(mount for mount in reversed(all_mounts()) if mount.mountpoint == mountpoint)


def is_stale(mountpoint: str) -> bool:
    """Returns whether the daemon behind a mount has ended."""
    try:
        within(ANSWER_S, lambda: Path(mountpoint).stat().st_ino)
    except TimeoutError:
        return False
    except OSError as error:
        return error.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    return False


def remove_stale(mountpoint: str) -> None:
    """Unmounts a mount whose daemon has ended, and reports it on stderr."""
    unmount(mountpoint, lazy=True)
    click.echo(f"{mountpoint}: removed a stale mount; its daemon had ended", err=True)


def unmount(mountpoint: str, *, lazy: bool = False) -> None:
    """Unmounts the topmost mount on a directory; ``lazy`` as umount(8)'s -l.

    Raises:
        Busy: if files of the mount are open.
        UnmountFailed: for any other reason.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    flags = UMOUNT_NOFOLLOW | (MNT_DETACH if lazy else 0)
    if libc.umount2(os.fsencode(mountpoint), flags) == 0:
        return
    number = ctypes.get_errno()
    if number == errno.EPERM:
        _unmount_as_plain_user(mountpoint, lazy=lazy)
    elif number == errno.EBUSY:
        raise Busy(f"{mountpoint} is in use")
    else:
        raise UnmountFailed(f"cannot unmount {mountpoint}: {os.strerror(number)}")


def _unmount_as_plain_user(mountpoint: str, *, lazy: bool) -> None:
    program = shutil.which("fusermount3")
    if program is None:
        raise UnmountFailed(f"cannot unmount {mountpoint}: fusermount3 is missing; install fuse3")
    command = [program, "-u", *(["-z"] if lazy else []), "--", mountpoint]
    done = subprocess.run(command, env={"LC_ALL": "C"}, capture_output=True, text=True, check=False)
    if done.returncode and "busy" in done.stderr:
        raise Busy(f"{mountpoint} is in use")
    if done.returncode:
        raise UnmountFailed(f"cannot unmount {mountpoint}: {done.stderr.strip()}")
