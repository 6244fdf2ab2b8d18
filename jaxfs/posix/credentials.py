"""Credentials of a process and attributes of an inode, as Unix has them, without a filesystem.

>>> alice, bob = Credentials(1000, 1000), Credentials(1001, 1001)
>>> attr = InodeAttr.of(alice, 0o666)
>>> oct(attr.mode), bob.may_read(attr, attr.mode), bob.may_read(attr, 0o600)
('0o644', True, False)
"""

from __future__ import annotations

import itertools
import os
import pwd
import time
from collections.abc import Iterator

import attrs

SERIALS: Iterator[int] = itertools.count(1)  # every object that is shown as files has one
_STATUS_BYTES = 1 << 20  # 65,536 groups, the most that Linux knows, take 700 kB


@attrs.frozen
class Credentials:
    """The credentials of the process behind a request; see credentials(7).

    Attributes:
        uid: The user.
        gid: The group.
        pid: The thread; 0 if there is none.
        umask: The permission bits that files it creates do not get.
        groups: The supplementary groups, as far as they are known; see ``with_groups``.
    """

    uid: int
    gid: int
    pid: int = 0
    umask: int = 0o022
    groups: frozenset[int] = frozenset()

    def with_groups(self) -> Credentials:
        """Returns these credentials with the supplementary groups that the thread has now.

        To be called before the request is answered: the thread waits for the answer, so that its
        number cannot be another's meanwhile.  What is opened keeps these groups, as open(2) has
        it, whatever becomes of the thread, its groups and its number; nothing reads /proc later.
        FUSE does not pass supplementary groups, and the number is 0 for a thread that our PID
        namespace does not show: it counts as one without any.  A read takes 15 us.
        """
        return attrs.evolve(self, groups=_groups_of_thread(self.pid)) if self.pid else self

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
        if attr.gid == self.gid or attr.gid in self.groups:
            return bool(mode & 0o040)
        return bool(mode & 0o004)


def _groups_of_thread(tid: int) -> frozenset[int]:
    """Returns the supplementary groups of a thread (proc_pid_status(5)); none if it is hidden."""
    try:
        status = os.open(f"/proc/{tid}/status", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return frozenset()
    try:
        text = os.read(status, _STATUS_BYTES)
    except OSError:  # it has ended between open(2) and read(2)
        return frozenset()
    finally:
        os.close(status)
    _, _, rest = text.partition(b"\nGroups:")
    return frozenset(map(int, rest.partition(b"\n")[0].split()))


def _groups_of_user(uid: int) -> frozenset[int]:
    """Returns the groups of a user in the system's database (getgrouplist(3))."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return frozenset()
    return frozenset(os.getgrouplist(entry.pw_name, entry.pw_gid))


def owner_may_read(owner: InodeAttr, attr: InodeAttr, mode: int) -> bool:
    """Returns whether the owner of an object could open a file for reading.

    An owner need not have a process: its supplementary groups are those of the system's database,
    which is asked only where they decide.

    Args:
        owner: Has the owner and the group.
        attr: The file's owner and group.
        mode: The file's permission bits.

    >>> alice, secret = InodeAttr(1000, 1000, 0o644), InodeAttr(1001, 1001, 0o600)
    >>> owner_may_read(alice, secret, 0o400), owner_may_read(alice, secret, 0o444)
    (False, True)
    """
    rights = Credentials(owner.uid, owner.gid)
    if bool(mode & 0o040) == bool(mode & 0o004) or owner.uid in (0, attr.uid):
        return rights.may_read(attr, mode)
    return attrs.evolve(rights, groups=_groups_of_user(owner.uid)).may_read(attr, mode)


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
