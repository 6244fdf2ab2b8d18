"""``mountctl status``: the mounts and how they are, also where one does not answer."""

from __future__ import annotations

import errno
from pathlib import Path

import attrs
import msgspec
from rich.console import Console
from rich.table import Table

from mountctl import mounts, processes
from mountctl.errors import NotMounted
from mountctl.mount_stats import flat_keyed
from mountctl.timeouts import within

STATE_OF_ERRNO = {
    errno.ENOTCONN: "stale",  # the daemon is gone
    errno.ECONNABORTED: "stale",
    errno.EACCES: "private",  # another user's mount
}
STYLES = {"ok": "green", "degraded": "yellow"}
WIDTH = 160  # columns where the output is no terminal; nothing is cut


@attrs.frozen
class MountStatus:
    """One mount.  ``state`` is its health's, or stale, hung, private, unreadable."""

    mountpoint: str
    state: str
    pid: int | None = None
    engine: str = ""
    programs: int | None = None
    uptime_usec: int | None = None
    version: str = ""


def status_of(mountpoint: str) -> MountStatus:
    """Ask one mount, for at most ``mounts.ANSWER_S``."""
    pid = processes.daemon_of(mountpoint)
    try:
        health, version = within(mounts.ANSWER_S, lambda: _read(mountpoint))
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
    )


def _read(mountpoint: str) -> tuple[str, str]:
    root = Path(mountpoint)
    return (root / "health").read_text(), (root / "version").read_text()


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


def statuses(mountpoint: str | None) -> list[MountStatus]:
    """Of one mount, or of all there are.  Raises NotMounted."""
    found = list(dict.fromkeys(mount.mountpoint for mount in mounts.jaxfs_mounts()))
    if mountpoint is None:
        return [status_of(path) for path in found]
    if mountpoint not in found:
        raise NotMounted(f"no jaxfs is mounted on {mountpoint}; mountctl status lists the mounts")
    return [status_of(mountpoint)]


def as_json(found: list[MountStatus]) -> str:
    """A list of objects, always."""
    return msgspec.json.format(msgspec.json.encode(found), indent=2).decode()


def show(found: list[MountStatus]) -> None:
    """The same as a table."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    if not found:
        console.print("no jaxfs is mounted")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("mount point", "state", "pid", "engine", "programs", "uptime", "version"):
        table.add_column(title, overflow="fold")
    for one in found:
        table.add_row(*_cells(one))
    console.print(table)


def _cells(one: MountStatus) -> list[str]:
    style = STYLES.get(one.state, "red")
    return [
        one.mountpoint,
        f"[{style}]{one.state}[/]",
        "" if one.pid is None else str(one.pid),
        one.engine,
        "" if one.programs is None else str(one.programs),
        duration(one.uptime_usec),
        one.version,
    ]


def duration(usec: int | None) -> str:
    """``2d 03:04:05``."""
    if usec is None:
        return ""
    minutes, seconds = divmod(usec // 1_000_000, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return (f"{days}d " if days else "") + f"{hours:02}:{minutes:02}:{seconds:02}"
