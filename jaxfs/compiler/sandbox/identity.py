"""The user and the privileges of a job: credentials(7), user_namespaces(7), prctl(2)."""

from __future__ import annotations

import os

import msgspec

from jaxfs.posix import syscalls
from jaxfs.posix.child_setup import die_with_parent

NOBODY = 65534
_CLONE_NEWUSER = 0x10000000


class SandboxUser(msgspec.Struct, frozen=True):
    """The user that a job runs as.

    Attributes:
        uid: The user id, real, effective and saved.
        gid: The group id, real, effective and saved; there are no supplementary groups.
    """

    uid: int
    gid: int


def job_user(uid: int | None, gid: int | None) -> SandboxUser:
    """Returns the user of a request; ``nobody`` instead of root, which no job needs to be.

    >>> job_user(1000, 1000), job_user(0, None)
    (SandboxUser(uid=1000, gid=1000), SandboxUser(uid=65534, gid=65534))
    """
    return SandboxUser(uid or NOBODY, gid or NOBODY)


def switch_user(user: SandboxUser) -> None:
    """Sets all user and group ids of this process, irrevocably (setresuid(2), setgroups(2)).

    Raises:
        PermissionError: The process may not.
    """
    os.setgroups([])
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)


def unshare_user_namespace() -> None:
    """Moves this process into a new user namespace, where RLIMIT_NPROC counts its threads alone.

    Raises:
        OSError: The machine does not permit it.
    """
    syscalls.call_libc("unshare", _CLONE_NEWUSER)


def drop_privileges(parent: int) -> None:
    """Drops all capabilities and the way to gain privileges (prctl(2), capabilities(7)).

    The process is not dumpable, so other processes of the same user can neither trace it nor read
    its /proc, and it gets SIGKILL when ``parent`` ends.
    """
    syscalls.drop_capabilities()
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    die_with_parent(parent)  # again: a change of user clears the parent-death signal


def count_threads(uid: int, proc: int | None) -> int:
    """Returns how many threads a user has now; 0 if /proc, open as ``proc``, is hidden."""
    if proc is None:
        return 0
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=proc)
    try:
        pids = [name for name in os.listdir(here) if name.isdecimal()]  # noqa: PTH208 no path
    finally:
        os.close(here)
    return sum(_threads(proc, pid, uid) for pid in pids)


def _threads(proc: int, pid: str, uid: int) -> int:
    """Returns the threads of a process if it is the user's, by its ``status`` file (proc(5)).

    The owner of its directory would be root for a process that is not dumpable.
    """
    try:
        status = os.open(f"{pid}/status", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
        with os.fdopen(status) as file:
            fields = dict(line.split(":", 1) for line in file)
    except OSError:  # the process has ended, perhaps between open(2) and read(2)
        return 0
    return int(fields["Threads"]) if int(fields["Uid"].split()[0]) == uid else 0
