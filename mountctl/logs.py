"""``mountctl logs`` and ``reload``: shows a daemon's log, and changes its level.

The level is written to a file in the state directory, which the daemon reads at SIGHUP.  It counts
until the daemon ends.  An administrator can write the same file and use ``reload``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import click

from mountctl import processes, statedir
from mountctl.errors import NotMounted, UnmountFailed

LEVEL_NAME = "log_level"  # jaxfs.front.logs reads it
STDERR = 2


def reload(mountpoint: str, level: str | None = None) -> None:
    """Sends the daemon SIGHUP, after it sets a new level if there is one.

    Raises:
        NotMounted: if no daemon serves the mount point.
        UnmountFailed: if it is another user's.
    """
    daemon = processes.find_daemon(mountpoint)
    if daemon is None:
        raise NotMounted(f"no daemon serves {mountpoint}; mountctl status lists the mounts")
    try:
        if level is not None:
            Path(daemon.document.state_dir, LEVEL_NAME).write_text(f"{level}\n")
        os.kill(daemon.pid, signal.SIGHUP)
    except PermissionError:
        raise UnmountFailed(
            f"the daemon of {mountpoint} (pid {daemon.pid}) is another user's"
        ) from None


def source(mountpoint: str) -> list[str]:
    """Returns the command that shows the log: from the journal, or from the daemon's log file."""
    daemon = processes.find_daemon(mountpoint)
    log = statedir.default(mountpoint) / statedir.LOG_NAME
    if daemon is not None:
        if daemon.document.options.log_format == "journal":
            return ["journalctl", "--no-pager", "-o", "short-iso", f"JAXFS_MOUNT={mountpoint}"]
        with contextlib.suppress(OSError):  # a process of another user does not show its files
            stderr = Path(f"/proc/{daemon.pid}/fd/{STDERR}").readlink()
            log = stderr if stderr.is_file() else log  # not a terminal or a pipe
    return ["tail", str(log)]


def show(mountpoint: str, lines: int, follow: bool) -> int:
    """Prints the last lines of the log; with ``follow`` runs until it is interrupted.

    Returns:
        The exit code of the command that prints.

    Raises:
        NotMounted: if there is no log.
    """
    command = source(mountpoint)
    if command[0] == "tail" and not Path(command[-1]).is_file():
        raise NotMounted(f"there is no log of {mountpoint}: {command[-1]} does not exist")
    words = [command[0], "-n", str(lines), *(["-f"] if follow else []), *command[1:]]
    try:
        return subprocess.run(words, check=False).returncode
    except FileNotFoundError:
        raise NotMounted(f"{words[0]} is missing; the log is in systemd's journal") from None
    except KeyboardInterrupt:
        click.echo()
        return 0
