"""Where a mount keeps its programs and caches, and taking back what a failed mount created."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from mountctl.errors import StateDirUnusable

LOG_NAME = "log"
LOCK_NAME = "lock"  # held by the daemon that uses the directory (jaxfs.programs.store)


def escape(mountpoint: str) -> str:
    """A mount point as one readable, unique file name: ``/mnt/jax`` is ``mnt+jax``."""
    parts = mountpoint.strip("/").replace("%", "%25").replace("+", "%2B").split("/")
    return "+".join(parts) or "+"


def default(mountpoint: str) -> Path:
    """The state directory of a mount point, where none is named."""
    return platformdirs.user_state_path("jaxfs") / escape(mountpoint)


def check(path: Path, mountpoint: str) -> None:
    """Raises StateDirUnusable."""
    if path.is_relative_to(mountpoint):
        raise StateDirUnusable(
            f"{path} is inside the mount point {mountpoint} and would be hidden by the mount;"
            " name another place"
        )


@contextmanager
def prepared(path: Path) -> Iterator[Path]:
    """The directory exists inside the context; if that fails, what was created is removed again.

    Raises StateDirUnusable.
    """
    missing = [place for place in (path, *path.parents) if not os.path.lexists(place)]
    try:
        _create(path)
        _refuse_used(path)
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


def _refuse_used(path: Path) -> None:
    """Early, so that the log of the daemon that has it stays its own; the lock is the daemon's."""
    with contextlib.suppress(FileNotFoundError), (path / LOCK_NAME).open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StateDirUnusable(
                f"the state directory {path} is used by another jaxfs daemon;"
                " name another with --state-dir"
            ) from None
