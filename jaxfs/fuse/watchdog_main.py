"""A script that unmounts a jaxfs with no daemon.  ``watchdog`` runs it; it imports no jaxfs.

A mount is dead when stat fails with ENOTCONN.  Anything else that is mounted there meanwhile is
left alone.
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
    """Returns the type of the topmost mount there, empty for none; see proc_pid_mountinfo(5)."""
    found = ""
    with open("/proc/self/mountinfo", errors="surrogateescape") as file:
        for line in file:
            left, _, right = line.partition(" - ")
            if unescaped(left.split(" ")[4]) == mountpoint:
                found = right.split(" ")[0]
    return found


def unescaped(text: str) -> str:
    r"""Decodes the octal escapes of mountinfo, for space, tab, newline and backslash.

    >>> unescaped(r"/mnt/a\040place")
    '/mnt/a place'
    """
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), text)


def is_dead(mountpoint: str) -> bool:
    """Returns whether a jaxfs is mounted there and its daemon is gone."""
    if topmost(mountpoint) != FSTYPE:
        return False
    try:
        os.stat(mountpoint)  # noqa: PTH116  # pathlib takes longer to import than all the rest
    except OSError as error:
        return error.errno in DEAD
    return False


def detach(mountpoint: str) -> None:
    """Unmounts lazily: processes may still have it as their working directory."""
    umount2 = ctypes.CDLL(None).umount2
    if umount2(os.fsencode(mountpoint), MNT_DETACH | UMOUNT_NOFOLLOW):  # a plain user may not
        os.execvp("fusermount3", ["fusermount3", "-u", "-z", "-q", "--", mountpoint])


if __name__ == "__main__" and is_dead(sys.argv[1]):
    detach(sys.argv[1])
