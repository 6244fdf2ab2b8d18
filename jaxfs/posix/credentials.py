"""Credentials of a process and attributes of an inode, as Unix has them, without a filesystem.

>>> alice, bob = Credentials(1000, 1000), Credentials(1001, 1001)
>>> attr = InodeAttr.of(alice, 0o666)
>>> oct(attr.mode), bob.may_read(attr, attr.mode), bob.may_read(attr, 0o600)
('0o644', True, False)
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import attrs

SERIALS: Iterator[int] = itertools.count(1)  # every object that is shown as files has one


@attrs.frozen
class Credentials:
    """The credentials of the process behind a request; see credentials(7).

    Attributes:
        uid: The user.
        gid: The group.
        pid: The thread; 0 if there is none.
        umask: The permission bits that files it creates do not get.
    """

    uid: int
    gid: int
    pid: int = 0
    umask: int = 0o022

    def mode(self, wanted: int) -> int:
        """Returns the mode of a new file: the kernel has not applied the umask for us."""
        return wanted & 0o777 & ~self.umask

    def may_read(self, attr: InodeAttr, mode: int) -> bool:
        """Returns whether it could open a file for reading.

        Args:
            attr: The file's owner and group.
            mode: The file's permission bits.
        """
        if self.uid in (0, attr.uid):
            return self.uid == 0 or bool(mode & 0o400)
        if attr.gid == self.gid or attr.gid in _groups_of(self.pid):
            return bool(mode & 0o040)
        return bool(mode & 0o004)


def _groups_of(pid: int) -> frozenset[int]:
    """Returns the supplementary groups of a process; none if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return frozenset()
    words = next((line for line in lines if line.startswith("Groups:")), "").split()
    return frozenset(map(int, words[1:]))


def now_ns() -> int:
    """Returns the wall clock, as file times have it."""
    return time.time_ns()


@attrs.define
class InodeAttr:
    """Owner, permission bits and times of one object.

    Attributes:
        uid: The owner.
        gid: The group.
        mode: The permission bits.
        atime_ns: When it was read last, in nanoseconds since the epoch.
        mtime_ns: When its content changed last.
        ctime_ns: When it changed last.
    """

    uid: int
    gid: int
    mode: int
    atime_ns: int = attrs.field(factory=now_ns)
    mtime_ns: int = attrs.field(factory=now_ns)
    ctime_ns: int = attrs.field(factory=now_ns)

    @classmethod
    def of(cls, caller: Credentials, wanted: int) -> InodeAttr:
        """Returns the attributes of a file that ``caller`` creates with mode ``wanted``."""
        return cls(caller.uid, caller.gid, caller.mode(wanted))

    def touch(self) -> None:
        """Sets the times for a content that has changed now."""
        self.mtime_ns = self.ctime_ns = now_ns()


def allowed_to_readers(most: int, source_mode: int) -> int:
    """Returns ``most`` without the bits of those classes (user, group, other) that may not read.

    Users that may read a program may call it, as with a binary in /usr/bin; chmod on the file
    itself narrows or widens that.

    Args:
        most: Permission bits of a file in the directory of a program.
        source_mode: The permission bits of the program's source.

    >>> oct(allowed_to_readers(0o666, 0o640))
    '0o660'
    """
    bits = most & ~0o777
    for shift in (6, 3, 0):
        if source_mode >> shift & 0o4:
            bits |= most & 0o7 << shift
    return bits
