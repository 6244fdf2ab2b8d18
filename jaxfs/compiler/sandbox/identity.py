"""Whose rights a job has, and that it gains no others."""

from __future__ import annotations

import os

import msgspec

from jaxfs.posix import syscalls
from jaxfs.posix.child_process import die_with_parent

NOBODY = 65534
_CLONE_NEWUSER = 0x10000000


class SandboxUser(msgspec.Struct, frozen=True):
    """A user and a group."""

    uid: int
    gid: int


def job_user(uid: int | None, gid: int | None) -> SandboxUser:
    """Those of the asking user; nobody's instead of root's, which a job has no use for."""
    return SandboxUser(uid or NOBODY, gid or NOBODY)


def switch_user(user: SandboxUser) -> None:
    """Take a user's identity, for ever.  Raises PermissionError where that is not to be had."""
    os.setgroups([])
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)


def unshare_user_namespace() -> None:
    """Have one in which nobody else is, so that threads are counted for this process alone.

    Raises OSError where the machine does not let it.
    """
    syscalls.libc("unshare", _CLONE_NEWUSER)


def drop_privileges(parent: int) -> None:
    """Gain no rights, show nothing to others of the same user, die with ``parent``."""
    syscalls.drop_capabilities()
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    die_with_parent(parent)  # again: a change of user has cleared it


def count_threads(uid: int, proc: int | None) -> int:
    """How many a user has now; 0 where /proc, open as ``proc``, does not say."""
    if proc is None:
        return 0
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=proc)
    try:
        pids = [name for name in os.listdir(here) if name.isdecimal()]  # noqa: PTH208 no path
    finally:
        os.close(here)
    return sum(_threads(proc, pid, uid) for pid in pids)


def _threads(proc: int, pid: str, uid: int) -> int:
    """Not by the owner of its directory: that is root where a process is not dumpable."""
    try:
        status = os.open(f"{pid}/status", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
    except OSError:  # it has ended meanwhile
        return 0
    with os.fdopen(status) as file:
        fields = dict(line.split(":", 1) for line in file)
    return int(fields["Threads"]) if int(fields["Uid"].split()[0]) == uid else 0
