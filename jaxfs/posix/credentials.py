"""Who asks, and to whom a file belongs: the plain Unix notions, without a filesystem."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import attrs

SERIALS: Iterator[int] = itertools.count(1)  # every object that is shown as files takes one


@attrs.frozen
class Credentials:
    """The process behind a request."""

    uid: int
    gid: int
    pid: int = 0
    umask: int = 0o022

    def mode(self, wanted: int) -> int:
        """The mode a new file gets: the kernel has not applied the umask for us."""
        return wanted & 0o777 & ~self.umask

    def may_read(self, meta: InodeAttr, mode: int) -> bool:
        """Whether it could open a file of this owner and these permission bits for reading."""
        if self.uid in (0, meta.uid):
            return self.uid == 0 or bool(mode & 0o400)
        if meta.gid == self.gid or meta.gid in _groups_of(self.pid):
            return bool(mode & 0o040)
        return bool(mode & 0o004)


def _groups_of(pid: int) -> frozenset[int]:
    """The supplementary groups of a process; none where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return frozenset()
    words = next((line for line in lines if line.startswith("Groups:")), "").split()
    return frozenset(map(int, words[1:]))


def now_ns() -> int:
    """The wall clock, as file times have it."""
    return time.time_ns()


@attrs.define
class InodeAttr:
    """Owner, permission bits and times (nanoseconds since the epoch) of one object."""

    uid: int
    gid: int
    mode: int
    atime_ns: int = attrs.field(factory=now_ns)
    mtime_ns: int = attrs.field(factory=now_ns)
    ctime_ns: int = attrs.field(factory=now_ns)

    @classmethod
    def of(cls, caller: Credentials, wanted: int) -> InodeAttr:
        """For a file that ``caller`` creates with mode ``wanted``."""
        return cls(caller.uid, caller.gid, caller.mode(wanted))

    def touch(self) -> None:
        """The content changed now."""
        self.mtime_ns = self.ctime_ns = now_ns()


def allowed_to_readers(most: int, source_mode: int) -> int:
    """Permission bits ``most`` for those classes (user, group, other) that may read the source.

    Who may read a program may call it, as with a binary in /usr/bin; chmod on the file itself
    narrows or widens that.
    """
    bits = most & ~0o777
    for shift in (6, 3, 0):
        if source_mode >> shift & 0o4:
            bits |= most & 0o7 << shift
    return bits
