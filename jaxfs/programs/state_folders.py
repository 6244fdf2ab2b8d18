"""The folders and the lock of a state directory when a daemon starts.

Whatever lies where they belong is moved out of the way, and what a killed daemon left is finished.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import stat
import time
from collections.abc import Collection
from pathlib import Path

from jaxfs.posix import durable_files
from jaxfs.posix.durable_files import ASIDE, SCRATCH
from jaxfs.programs.record_writer import place_of_scratch
from jaxfs.programs.seals import Damaged, is_sealed

MAX_RECORD_BYTES = 16 << 20
UNUSED_S = 30 * 24 * 3600
COMPILE_CACHE = "xla-"  # and the uid, see engine.worker.compile_cache
log = logging.getLogger(__name__)


def lock(root: Path) -> list[int]:
    """Locks a state directory for one daemon, until the descriptors are closed.

    The directory is locked too: a lock file that somebody removes, or one that came with a backup,
    lets no second daemon in.  Not on file systems that lock no directories.

    Returns:
        The descriptors; none if another daemon uses the directory.

    Raises:
        OSError: The lock file cannot be created.
    """
    fds = [_open_lock(root / "lock"), os.open(root, os.O_RDONLY | os.O_CLOEXEC)]
    if all(_is_free(fd) for fd in fds):
        return fds
    for fd in fds:
        os.close(fd)
    return []


def _is_free(fd: int) -> bool:
    """Locks a file or directory, where that is possible; returns whether no other has locked it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        log.warning("a state directory cannot be locked: %s", error)
    return True


def _open_lock(path: Path) -> int:
    """Opens the lock file, and returns its descriptor.

    Raises:
        OSError: It cannot be created.
    """
    if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
        durable_files.clear_place(path)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except PermissionError:
        path.chmod(0o600)
        return os.open(path, flags)


def prepare_folder(folder: Path, *, finish: bool) -> None:
    """Makes a folder usable, and clears what a killed daemon left in it.

    Args:
        folder: The folder; created if it is missing.
        finish: Whether whole records that are not in their places yet are put there.

    Raises:
        OSError: It cannot be created or read.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        log.warning("%s is no directory and is replaced by an empty one", folder)
        durable_files.clear_place(folder)
    folder.mkdir(mode=0o700, exist_ok=True)
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        folder.chmod(0o700)
    for path in sorted(folder.iterdir()):
        if path.name.startswith(SCRATCH) and finish:
            _finish_record(path)
        elif path.name.startswith((SCRATCH, ASIDE)):
            durable_files.remove_left_over(path)


def remove_compile_caches(root: Path, kept: Collection[int]) -> None:
    """Removes what workers of users have compiled and kept, and not used for ``UNUSED_S``.

    Args:
        root: The state directory.
        kept: The users whose caches stay: they have programs.
    """
    for path in root.glob(f"{COMPILE_CACHE}*"):
        uid, status = path.name.removeprefix(COMPILE_CACHE), path.lstat()
        unused_s = time.time() - max(status.st_atime, status.st_mtime)  # workers list it
        if uid.isdecimal() and int(uid) not in kept and unused_s > UNUSED_S:
            durable_files.remove_left_over(path)


def _finish_record(scratch: Path) -> None:
    """Puts a record in its place if it is whole; removes it if not."""
    place = place_of_scratch(scratch)
    with contextlib.suppress(OSError, Damaged):
        data = durable_files.read_regular(scratch, MAX_RECORD_BYTES)
        if is_sealed(f"{place.parent.name}/{place.name}", data):
            durable_files.put_in_place(scratch, place)
            return
    durable_files.remove_left_over(scratch)
