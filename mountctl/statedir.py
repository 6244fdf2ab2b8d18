"""Where a mount keeps its programs and caches; removes what a failed mount created."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from mountctl import mounts, processes
from mountctl.errors import StateDirUnusable

LOG_NAME = "log"
MODE_NAME = "mountpoint_mode"  # of mountctl.mountpoint_guard
LOCK_NAME = "lock"  # held by the daemon that uses the directory (jaxfs.programs.store)
ENDING_S, POLL_S = 5.0, 0.02


def default(mountpoint: str) -> Path:
    """Returns the state directory of a mount point if none is named.

    Its name is the mount point, readable and unique.

    >>> default("/mnt/jax").name, default("/a+b").name
    ('mnt+jax', 'a%2Bb')
    """
    parts = mountpoint.strip("/").replace("%", "%25").replace("+", "%2B").split("/")
    return platformdirs.user_state_path("jaxfs") / ("+".join(parts) or "+")


def of(mountpoint: str) -> Path:
    """Returns the state directory of a mount point's daemon; the default if none runs."""
    daemon = processes.find_daemon(mountpoint)
    return default(mountpoint) if daemon is None else Path(daemon.document.state_dir)


@contextmanager
def prepared(path: Path, mountpoint: str) -> Iterator[Path]:
    """Inside the context the directory exists; if that fails, what was created is removed.

    Raises:
        StateDirUnusable: if it cannot be created or written, or another daemon uses it.
    """
    missing = [place for place in (path, *path.parents) if not os.path.lexists(place)]
    try:
        _create(path)
        _refuse_used(path, mountpoint)
        for name in (LOG_NAME, MODE_NAME):
            _clear_place(path / name)
        yield path
    except BaseException:
        if missing:
            shutil.rmtree(missing[-1], ignore_errors=True)
        raise


def _create(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StateDirUnusable(
            f"the state directory {path} cannot be created: {error.strerror};"
            " name another with --state-dir"
        ) from None
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise StateDirUnusable(
            f"the state directory {path} is not writable; name another with --state-dir"
        )


def _clear_place(path: Path) -> None:
    """Moves what is no file and lies in a file's place aside, to a name with ``.damaged``.

    Raises:
        StateDirUnusable: if that is not possible.
    """
    if not os.path.lexists(path):
        return
    try:
        if not path.is_file():
            path.rename(path.with_name(f"{path.name}.damaged-{time.time_ns()}"))
        elif not os.access(path, os.R_OK | os.W_OK):
            path.chmod(0o600)
    except OSError as error:
        raise StateDirUnusable(
            f"{path} is no file that can be written: {error.strerror}; remove it"
        ) from None


def _refuse_used(path: Path, mountpoint: str) -> None:
    """Raises StateDirUnusable if a daemon of another mount point uses the directory.

    The new daemon would find the lock taken too, but only after its log was opened, which is the
    log of the other one.  umount(8) returns before the daemon has ended, so a daemon without a
    mount gets ``ENDING_S`` to end.
    """
    end = time.monotonic() + ENDING_S
    while _is_locked(path):
        used_by = {
            daemon.document.mountpoint
            for daemon in processes.running_daemons()
            if daemon.document.state_dir == str(path)
        }
        others = {place for place in used_by - {mountpoint} if mounts.is_mounted(place)}
        if others or time.monotonic() > end:
            raise StateDirUnusable(
                f"the state directory {path} is used by another jaxfs daemon;"
                " name another with --state-dir"
            )
        time.sleep(POLL_S)


def _is_locked(path: Path) -> bool:
    """Whether a daemon uses a state directory; it locks a file in it and the directory."""
    return any(_is_flocked(place) for place in (path / LOCK_NAME, path))


def _is_flocked(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # missing, or the daemon replaces it: it is no lock
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
