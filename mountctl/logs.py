"""``mountctl logs`` and ``reload``: what a daemon says, and how much of it.

The level changes by a file in the state directory and a SIGHUP, which also asks for that file where
an administrator wrote it; it counts until the daemon ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import click

from mountctl import processes, statedir
from mountctl.errors import NotMounted, UnmountFailed

LEVEL_NAME = "log_level"  # jaxfs.front.logs reads it
STDERR = 2


def _daemon(mountpoint: str) -> int:
    pid = processes.daemon_of(mountpoint)
    if pid is None:
        raise NotMounted(f"no daemon serves {mountpoint}; mountctl status lists the mounts")
    return pid


def reload(mountpoint: str) -> None:
    """Raises NotMounted, UnmountFailed."""
    pid = _daemon(mountpoint)
    try:
        os.kill(pid, signal.SIGHUP)
    except PermissionError:
        raise UnmountFailed(f"the daemon of {mountpoint} (pid {pid}) is another user's") from None


def set_level(mountpoint: str, level: str) -> None:
    """Raises NotMounted, UnmountFailed."""
    (statedir.of(mountpoint) / LEVEL_NAME).write_text(f"{level}\n")
    reload(mountpoint)


def source(mountpoint: str) -> list[str]:
    """The command that shows the log: of the journal, or of the file the daemon writes to."""
    pid = processes.daemon_of(mountpoint)
    told = processes.document_of(processes.command_of(pid)) if pid is not None else {}
    if told.get("options", {}).get("log_format") == "journal":
        return ["journalctl", "--no-pager", "-o", "short-iso", f"JAXFS_MOUNT={mountpoint}"]
    return ["tail", str(_file(pid) or statedir.default(mountpoint) / statedir.LOG_NAME)]


def _file(pid: int | None) -> Path | None:
    """Where the standard error of a daemon goes, unless to a terminal or a pipe."""
    if pid is None:
        return None
    try:
        path = Path(os.readlink(f"/proc/{pid}/fd/{STDERR}"))  # noqa: PTH115  # a link of proc's
    except OSError:
        return None
    return path if path.is_file() else None


def show(mountpoint: str, lines: int, follow: bool) -> int:
    """Runs until it is interrupted with ``follow``; the exit code.  Raises NotMounted."""
    command = source(mountpoint)
    if command[0] == "tail" and not Path(command[-1]).is_file():
        raise NotMounted(f"there is no log of {mountpoint}: {command[-1]} is not there")
    words = [command[0], "-n", str(lines), *(["-f"] if follow else []), *command[1:]]
    try:
        return subprocess.run(words, check=False).returncode
    except FileNotFoundError:
        raise NotMounted(f"{words[0]} is missing; the log is in systemd's journal") from None
    except KeyboardInterrupt:
        click.echo()
        return 0
