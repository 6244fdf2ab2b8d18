"""``mountctl status``: the mounts and their state, also if one does not answer."""

from __future__ import annotations

import errno
from pathlib import Path

import msgspec
from rich.table import Table

from mountctl import mounts, processes
from mountctl.display import STATE_STYLES, duration, fixed_width
from mountctl.mount_stats import flat_keyed
from mountctl.timeouts import within

STATE_OF_ERRNO = {
    errno.ENOTCONN: "stale",  # the daemon has ended
    errno.ECONNABORTED: "stale",
    errno.EACCES: "private",  # another user's mount
}
TITLES = ("mount point", "state", "pid", "engine", "programs", "uptime", "version")
WIDTH = 160  # columns if the output is not a terminal, so that nothing is cut


class MountStatus(msgspec.Struct, frozen=True):
    """One mount.

    Attributes:
        mountpoint: Absolute path.
        state: That of ``health``, or stale, hung, private, unreadable.
        pid: The daemon, if it is found.
        engine: The engine's state.
        programs: How many there are.
        uptime_usec: Since the mount.
        version: The first line of ``version``.
        damaged_records: Files of the state directory that the mount left out when it began.
    """

    mountpoint: str
    state: str
    pid: int | None = None
    engine: str = ""
    programs: int | None = None
    uptime_usec: int | None = None
    version: str = ""
    damaged_records: int = 0


def status_of(mountpoint: str) -> MountStatus:
    """Returns the status of a mount; takes at most ``mounts.ANSWER_S``."""
    pid = processes.daemon_of(mountpoint)
    files = [Path(mountpoint, name) for name in ("health", "version")]
    try:
        health, version = within(mounts.ANSWER_S, lambda: [file.read_text() for file in files])
    except TimeoutError:
        return MountStatus(mountpoint, "hung", pid)
    except OSError as error:
        return MountStatus(mountpoint, STATE_OF_ERRNO.get(error.errno or 0, "unreadable"), pid)
    found = flat_keyed(health)
    return MountStatus(
        mountpoint,
        state=found.get("state", "unreadable"),
        pid=pid,
        engine=found.get("engine", ""),
        programs=_number(found.get("programs")),
        uptime_usec=_number(found.get("uptime_usec")),
        version=version.partition("\n")[0],
        damaged_records=_number(found.get("damaged_records")) or 0,
    )


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


def statuses(mountpoint: str | None) -> list[MountStatus]:
    """Returns the status of one mount, or of all; raises NotMounted if the one is missing."""
    if mountpoint is not None:
        mounts.require_mounted(mountpoint)
        return [status_of(mountpoint)]
    found = dict.fromkeys(mount.mountpoint for mount in mounts.jaxfs_mounts())
    return [status_of(path) for path in found]


def show(found: list[MountStatus]) -> None:
    """Prints a table, a row for each mount."""
    console = fixed_width(WIDTH)
    if not found:
        console.print("no jaxfs is mounted")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in TITLES:
        table.add_column(title, overflow="fold")
    for mount in found:
        table.add_row(
            mount.mountpoint,
            f"[{STATE_STYLES.get(mount.state, 'red')}]{mount.state}[/]",
            "" if mount.pid is None else str(mount.pid),
            mount.engine,
            "" if mount.programs is None else str(mount.programs),
            duration(mount.uptime_usec),
            mount.version,
        )
    console.print(table)
