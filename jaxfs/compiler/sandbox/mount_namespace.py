"""A file system with nothing in it but what an import may read, for the zygote and its jobs.

What bubblewrap would do, done by the zygote to itself once it has imported jax, so that it costs a
job nothing (bubblewrap cannot wrap a fork of a warm process).  The mount itself, other mounts,
/proc and every home are not there; no network either.  Modules are reachable under their usual
names by any user, also where a virtual environment lies below a directory that only root may enter.

No process namespace: its first process, which a job would be, cannot be ended by a signal from
itself, so that compilers' aborts would look like something else; and the filter refuses what one
would contain.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from jaxfs.compiler.sandbox.syscall_table import numbers
from jaxfs.posix import syscalls

_NAMESPACES = (
    0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x40000000
)  # ns cgroup uts ipc net
_NEWUSER = 0x10000000
_NOSUID, _NODEV, _BIND, _REC, _SLAVE, _DETACH = 2, 4, 4096, 16384, 1 << 19, 2
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_ATTR_READ_ONLY_NOSUID = 0b11
_BASE, _OLD = "/tmp", "old"  # any directory that is always there


def enter(readable: Iterable[Path]) -> None:
    """Move this process, which has one thread, into a room with these.

    Raises OSError where the machine does not let it; whether it did is then unclear, so try it
    in a process that can be thrown away.
    """
    paths = sorted(readable)
    real = {path: path.resolve() for path in paths}
    links = {path: path.readlink() for path in map(Path, ("/lib", "/lib64")) if path.is_symlink()}
    _unshare()
    _mount(None, "/", None, _REC | _SLAVE)  # what is unmounted outside goes here too
    _mount("jaxfs", _BASE, "tmpfs", _NOSUID | _NODEV, "size=4m,mode=755")
    os.chdir(_BASE)
    Path(_OLD).mkdir()
    syscalls.call("pivot_root", numbers()["pivot_root"], b".", _OLD.encode())
    os.chdir("/")
    for path, target in links.items():
        path.symlink_to(target)
    for path in paths:
        _bring(Path(f"/{_OLD}{real[path]}"), path)
    syscalls.libc("umount2", f"/{_OLD}".encode(), _DETACH)
    Path(f"/{_OLD}").rmdir()
    _seal()


def _unshare() -> None:
    """Root needs no user namespace, and could not become other users in one."""
    uid, gid = os.getuid(), os.getgid()
    syscalls.libc("unshare", _NAMESPACES | (0 if uid == 0 else _NEWUSER))
    if uid:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")


def _bring(source: Path, to: Path) -> None:
    """Bind it to its name, without what is mounted below it where that can be."""
    if os.path.lexists(to):  # a link, or part of what is here already
        return
    if source.is_dir():
        to.mkdir(parents=True)
    else:
        to.parent.mkdir(parents=True, exist_ok=True)
        to.touch()
    try:
        _mount(str(source), str(to), None, _BIND)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # a user namespace may not uncover what lies under a mount; none of these is ours
        _mount(str(source), str(to), None, _BIND | _REC)


def _seal() -> None:
    attributes = _ATTR_READ_ONLY_NOSUID.to_bytes(8, "little") + bytes(24)
    syscalls.call(
        "mount_setattr", syscalls.MOUNT_SETATTR, _AT_FDCWD, b"/", _AT_RECURSIVE, attributes, 32
    )


def _mount(
    source: str | None, to: str, kind: str | None, flags: int, data: str | None = None
) -> None:
    syscalls.libc("mount", *map(_bytes, (source, to, kind)), flags, _bytes(data))


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else os.fsencode(text)
