"""A script: unmount a jaxfs whose daemon is gone.  ``watched`` runs it; it imports no jaxfs.

A mount is dead when stat says ENOTCONN.  Anything else that is mounted there meanwhile is left
alone.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import sys

FSTYPE = "fuse.jaxfs"
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8  # sys/mount.h
DEAD = (errno.ENOTCONN, errno.ECONNABORTED)


def topmost(mountpoint: str) -> str:
    """The type of what is mounted there; empty for nothing.  See mountinfo(5)."""
    found = ""
    with open("/proc/self/mountinfo", errors="surrogateescape") as file:
        for row in file:
            left, _, right = row.partition(" - ")
            if unescaped(left.split(" ")[4]) == mountpoint:
                found = right.split(" ")[0]
    return found


def unescaped(text: str) -> str:
    """How mountinfo writes space, tab, newline and backslash."""
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), text)


def is_dead(mountpoint: str) -> bool:
    """Whether a jaxfs is mounted there whose daemon is gone."""
    if topmost(mountpoint) != FSTYPE:
        return False
    try:
        os.stat(mountpoint)  # noqa: PTH116  # pathlib takes longer to import than all the rest
    except OSError as error:
        return error.errno in DEAD
    return False


def detach(mountpoint: str) -> None:
    """Unmount lazily: processes may still have it as their working directory."""
    umount2 = ctypes.CDLL(None).umount2
    if umount2(os.fsencode(mountpoint), MNT_DETACH | UMOUNT_NOFOLLOW):  # a plain user may not
        os.execvp("fusermount3", ["fusermount3", "-u", "-z", "-q", "--", mountpoint])


if __name__ == "__main__" and is_dead(sys.argv[1]):
    detach(sys.argv[1])
