"""Where a mount keeps its programs and caches, and taking back what a failed mount created."""

from __future__ import annotations

import contextlib
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
LOCK_NAME = "lock"  # held by the daemon that uses the directory (jaxfs.programs.store)
ENDING_S, POLL_S = 5.0, 0.02


def escape(mountpoint: str) -> str:
    """A mount point as one readable, unique file name: ``/mnt/jax`` is ``mnt+jax``."""
    parts = mountpoint.strip("/").replace("%", "%25").replace("+", "%2B").split("/")
    return "+".join(parts) or "+"


def default(mountpoint: str) -> Path:
    """The state directory of a mount point, where none is named."""
    return platformdirs.user_state_path("jaxfs") / escape(mountpoint)


def of(mountpoint: str) -> Path:
    """The state directory of a mount point's daemon; the default where none runs."""
    pid = processes.daemon_of(mountpoint)
    told = processes.document_of(processes.command_of(pid)) if pid is not None else {}
    return Path(told["state_dir"]) if "state_dir" in told else default(mountpoint)


def check(path: Path, mountpoint: str) -> None:
    """Raises StateDirUnusable."""
    if path.is_relative_to(mountpoint):
        raise StateDirUnusable(
            f"{path} is inside the mount point {mountpoint} and would be hidden by the mount;"
            " name another place"
        )


@contextmanager
def prepared(path: Path, mountpoint: str) -> Iterator[Path]:
    """The directory exists inside the context; if that fails, what was created is removed again.

    Raises StateDirUnusable.
    """
    missing = [place for place in (path, *path.parents) if not os.path.lexists(place)]
    try:
        _create(path)
        _refuse_used(path, mountpoint)
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


def _refuse_used(path: Path, mountpoint: str) -> None:
    """Early, so that the log of the daemon that has it stays its own; the lock is the daemon's.

    umount(8) returns before the daemon has ended, so one whose mount is gone gets time for that.
    """
    end = time.monotonic() + ENDING_S
    while _is_locked(path):
        places = {place for place in _users(path) if mounts.is_mounted(place)}
        if places - {mountpoint} or time.monotonic() > end:
            raise StateDirUnusable(
                f"the state directory {path} is used by another jaxfs daemon;"
                " name another with --state-dir"
            )
        time.sleep(POLL_S)


def _is_locked(path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError), (path / LOCK_NAME).open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _users(path: Path) -> set[str]:
    """The mount points of the daemons that were started with a state directory."""
    told = (processes.document_of(command) for command in processes.commands())
    return {document["mountpoint"] for document in told if document.get("state_dir") == str(path)}
