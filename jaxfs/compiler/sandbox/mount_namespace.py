"""A file system with nothing but the paths that an import may read, for the zygote and its jobs.

mount_namespaces(7), pivot_root(2).  The zygote does to itself what bubblewrap would do, once it has
imported jax, so that it costs a job nothing (bubblewrap cannot wrap a fork of a warm process).  Our
mount, other mounts, /proc and every home are missing, and so is the network.  Any user can reach
the modules under their usual names, even if a virtual environment is below a directory that only
root may enter.

There is no PID namespace: a job would be its first process, which a signal from itself cannot end,
so that a compiler's abort would look like something else (pid_namespaces(7)); and the seccomp
filter refuses what a PID namespace would confine.
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
_NOEXEC = 8
SCRATCH_BYTES = 1 << 30  # of all jobs at a time: what they exchange with an assembler
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_ATTR_READ_ONLY_NOSUID = 0b11
_BASE, _OLD = "/tmp", "old"  # any directory that is always there


def enter(readable: Iterable[Path], scratch: Path | None = None) -> None:
    """Moves this process, which has one thread, into namespaces with only these paths.

    Args:
        readable: Files and directories, which are read-only there.
        scratch: An empty directory in memory that can be written; None for none.

    Raises:
        OSError: The machine does not permit it. The process may then be halfway, so try it in a
            throw-away process first.
    """
    paths = sorted(readable)
    real = {path: path.resolve() for path in paths}
    links = {path: path.readlink() for path in map(Path, ("/lib", "/lib64")) if path.is_symlink()}
    _unshare()
    _mount(None, "/", None, _REC | _SLAVE)  # unmounts outside propagate to this namespace
    _mount("jaxfs", _BASE, "tmpfs", _NOSUID | _NODEV, "size=4m,mode=755")
    os.chdir(_BASE)
    Path(_OLD).mkdir()
    syscalls.call("pivot_root", numbers()["pivot_root"], b".", _OLD.encode())
    os.chdir("/")
    for path, target in links.items():
        path.symlink_to(target)
    for path in paths:
        _bind(Path(f"/{_OLD}{real[path]}"), path)
    syscalls.call_libc("umount2", f"/{_OLD}".encode(), _DETACH)
    Path(f"/{_OLD}").rmdir()
    if scratch is not None:
        scratch.mkdir()
        _name_executable()
    _make_read_only()
    if scratch is not None:
        flags = _NOSUID | _NODEV | _NOEXEC
        _mount("jaxfs", str(scratch), "tmpfs", flags, f"size={SCRATCH_BYTES},mode=711")


def _name_executable() -> None:
    """Makes the link /proc/self/exe, without which XLA aborts: it looks for CUDA near it.

    If Python were its target, XLA would also read /proc/self/cmdline.
    """
    link = Path("/proc/self/exe")
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to("/jaxfs")


def _unshare() -> None:
    """Makes the namespaces (unshare(2)), with a user namespace unless the process is root's.

    Root needs none, and could not switch to other users in one.
    """
    uid, gid = os.getuid(), os.getgid()
    syscalls.call_libc("unshare", _NAMESPACES | (0 if uid == 0 else _NEWUSER))
    if uid:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")


def _bind(source: Path, to: Path) -> None:
    """Bind-mounts a path, without the mounts below it if that is permitted (mount(2))."""
    if os.path.lexists(to):  # a link, or below another path
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
        # a user namespace may not uncover what a mount hides; none of these mounts is ours
        _mount(str(source), str(to), None, _BIND | _REC)


def _make_read_only() -> None:
    """Makes all mounts read-only and nosuid (mount_setattr(2))."""
    attributes = _ATTR_READ_ONLY_NOSUID.to_bytes(8, "little") + bytes(24)
    syscalls.call(
        "mount_setattr", syscalls.MOUNT_SETATTR, _AT_FDCWD, b"/", _AT_RECURSIVE, attributes, 32
    )


def _mount(
    source: str | None, to: str, kind: str | None, flags: int, data: str | None = None
) -> None:
    syscalls.call_libc("mount", *map(_bytes, (source, to, kind)), flags, _bytes(data))


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else os.fsencode(text)
