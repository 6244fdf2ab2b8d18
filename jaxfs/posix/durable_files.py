"""Files that survive a power cut whole, and are read with suspicion.

A file is written beside its place, synchronized and renamed, then its directory is synchronized:
after a crash there is the old file or the new one.  Reading follows no symbolic link and waits for
no pipe, since anything may lie where a file is expected.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path

SCRATCH = ".new-"  # begins the name of a file that is not in its place yet
ASIDE = ".old-"  # begins the name of something that is being removed
_NUMBERS = itertools.count(1)


def open_regular(path: str | Path) -> int:
    """Opens a regular file for reading; returns its descriptor.

    Raises:
        OSError: It cannot be opened, or is something else: a directory, a link, a pipe.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return fd


def read_regular(path: Path, limit_bytes: int) -> bytes:
    """Returns the content of a regular file.

    Raises:
        OSError: It cannot be read, is no regular file, or has more than ``limit_bytes``.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit_bytes:
            raise OSError(errno.EFBIG, f"it has {size} bytes, over {limit_bytes}", str(path))
        return file.read()


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a regular file in hexadecimal digits, read piece by piece.

    Raises:
        OSError: It cannot be read, or is no regular file.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def scratch_beside(path: Path) -> Path:
    """Returns a free name beside a file; the names of one process sort by age."""
    return path.with_name(f"{SCRATCH}{os.getpid()}-{next(_NUMBERS):09d}-{path.name}")


def write_durably(path: Path, pieces: Sequence[bytes | memoryview]) -> None:
    """Writes a file, whole or not at all, also if the power fails.

    Raises:
        OSError: The disk is full, or the directory cannot be written.
    """
    scratch = scratch_beside(path)
    try:
        write_synced(scratch, pieces)
        put_in_place(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def write_synced(path: Path, pieces: Sequence[bytes | memoryview]) -> None:
    """Writes a file and waits until the disk has it.

    Raises:
        OSError: The disk is full, or the directory cannot be written.
    """
    path.write_bytes(pieces[0])
    with path.open("ab") as file:
        for piece in pieces[1:]:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


def put_in_place(scratch: Path, path: Path) -> None:
    """Renames a synchronized file or directory over ``path``, and waits until the disk has that.

    What lies there and is no file, or cannot be replaced, is removed.
    """
    if scratch.is_dir() or (path.is_dir() and not path.is_symlink()):
        clear_place(path)
    scratch.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Waits until the disk has a file's content or a directory's names."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def clear_place(path: Path) -> None:
    """Removes whatever lies at ``path``, also a directory that cannot be listed.

    It is renamed first: what cannot be removed at once is not in the way, and `remove_left_over`
    tries again.

    Raises:
        OSError: It cannot be renamed.
    """
    if not os.path.lexists(path):
        return
    aside = aside_of(path)
    path.rename(aside)
    remove_left_over(aside)


def aside_of(path: Path) -> Path:
    """Returns a free name beside a file or directory that is being removed."""
    return path.with_name(f"{ASIDE}{os.getpid()}-{next(_NUMBERS):09d}")


def remove_left_over(path: Path) -> None:
    """Removes a file or a directory with all that is in it, as far as that is possible."""
    with contextlib.suppress(OSError):
        if path.is_symlink() or not path.is_dir():
            path.unlink()
            return
        path.chmod(0o700)
    shutil.rmtree(path, ignore_errors=True)
