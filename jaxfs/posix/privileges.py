"""Under whose rights an engine's process runs."""

from __future__ import annotations

import contextlib
import os
import pwd
import resource
from pathlib import Path

import msgspec

from jaxfs.posix import syscalls
from jaxfs.posix.child_process import die_with_parent

_PR_CAPBSET_DROP = 24
_KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH")
_KEPT_FAMILIES = ("JAX_", "XLA_", "CUDA_", "NVIDIA_", "TPU_", "TF_")


class User(msgspec.Struct, frozen=True):
    """Who a process becomes; ``groups`` are the further ones."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str

    @classmethod
    def known_as(cls, uid: int) -> User:
        """With the groups the system knows, which may be what lets it open a device."""
        try:
            entry = pwd.getpwuid(uid)
        except KeyError:
            return cls(uid, uid, (), "/")
        groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
        others = tuple(gid for gid in groups if gid != entry.pw_gid)
        return cls(uid, entry.pw_gid, others, entry.pw_dir)


def environment(user: User) -> dict[str, str]:
    """What a process of another user gets of ours."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT or name.startswith(_KEPT_FAMILIES)
    }
    return {**kept, "HOME": user.home}


def give_up_rights() -> None:
    """Never gain any again; to be called before there are threads, which would keep theirs."""
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    for capability in range(_last_capability() + 1):
        syscalls.prctl(_PR_CAPBSET_DROP, capability)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _last_capability() -> int:
    with contextlib.suppress(OSError):
        return int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    return 40


def become(user: User, parent: int) -> None:
    """Take a user's identity for good, in all threads, and still die with ``parent``."""
    os.setgroups(user.groups)
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)  # other processes of the user may not look into it
    die_with_parent(parent)  # again: a change of user has cleared it
