"""What a worker compiles itself is kept in a directory of its user, by JAX's compilation cache.

Only workers that compile use it: on a GPU with ``-o compile=engine``, and on platforms that XLA
cannot describe to another process.  It holds native code that is loaded unchecked, so each user of
an engine has one of its own, which no other user can read or write.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

import jax

from jaxfs.posix.privileges import User

CACHE_BYTES = 2 << 30  # more is removed when a worker starts, what was not used for longest first


def use(state_dir: str, user: User | None) -> None:
    """Lets JAX keep what this process compiles, before the process becomes ``user``.

    The directory is used through a descriptor: its user may not be able to reach it by its name.
    It is not used, with a line on stderr, if it belongs to anyone else.

    Args:
        state_dir: Where the directory is, or is made.
        user: Who the process becomes; None for no change.
    """
    uid, gid = (os.getuid(), os.getgid()) if user is None else (user.uid, user.gid)
    directory = Path(state_dir, f"xla-{uid}")
    try:
        fd = _open(directory, uid, gid)
    except OSError as error:
        print(f"{directory} keeps nothing that is compiled: {error}", file=sys.stderr)
        return
    _shrink(fd)
    config: Any = jax.config  # its methods are not annotated
    config.update("jax_compilation_cache_dir", f"/proc/self/fd/{fd}")
    config.update("jax_persistent_cache_min_compile_time_secs", 0)


def _open(directory: Path, uid: int, gid: int) -> int:
    """Returns a descriptor of a user's directory, which is made if it is missing.

    Raises:
        PermissionError: It belongs to another user.
        OSError: It cannot be made or opened.
    """
    try:
        directory.mkdir(mode=0o700)
        is_new = True
    except FileExistsError:
        is_new = False
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if is_new and uid != os.getuid():
            os.fchown(fd, uid, gid)
        if (found := os.fstat(fd).st_uid) != uid:
            raise PermissionError(f"it belongs to user {found}")
        os.fchmod(fd, 0o700)
    except OSError:
        os.close(fd)
        raise
    return fd


def _shrink(fd: int) -> None:
    """Removes what was not used for longest, until no more than ``CACHE_BYTES`` are left.

    Only files in the directory itself count, and none is reached by a path: the directory is the
    user's, who could make any directory in it a link while this process is root's.
    """
    found = []
    with os.scandir(fd) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                status = entry.stat(follow_symlinks=False)
                used = max(status.st_atime, status.st_mtime)
                found.append((used, status.st_size, entry.name))
    left = sum(size for _, size, _ in found)
    for _, size, name in sorted(found):
        if left <= CACHE_BYTES:
            return
        with contextlib.suppress(FileNotFoundError):  # another worker of the user removed it
            os.unlink(name, dir_fd=fd)
        left -= size
