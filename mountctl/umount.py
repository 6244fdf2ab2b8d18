"""``mountctl umount``: it returns when the mount is gone and its daemon has ended.

``--force`` asks nobody: the daemon ends all waits and unmounts lazily, as it does at SIGTERM.
Where it does not react it is killed, which ends its engine and aborts the connection.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

import click

from mountctl import mountpoint_guard, mounts, processes, statedir
from mountctl.errors import Busy, NotMounted, UnmountFailed

END_S = 30.0  # running calls are stopped, the engine closes its devices
FORCE_S = 3.0  # in order this takes a tenth of a second
HOLDERS_SHOWN = 10


def umount(mountpoint: str, *, force: bool = False, unguard: bool = False) -> None:
    """Raises NotMounted, Busy, UnmountFailed.  ``unguard`` is of use without a mount, too."""
    state_dir = statedir.of(mountpoint)
    if mounts.is_mounted(mountpoint) or not unguard:
        _take_away(mountpoint, force=force)
    if unguard:
        with mountpoint_guard.open_underlying(mountpoint, state_dir) as ground:
            ground.unguard()


def _take_away(mountpoint: str, *, force: bool) -> None:
    if not mounts.is_mounted(mountpoint):
        raise NotMounted(f"no jaxfs is mounted on {mountpoint}; mountctl status lists the mounts")
    if mounts.is_stale(mountpoint):
        mounts.unmount(mountpoint, lazy=True)
        click.echo(f"{mountpoint}: removed a stale mount; its daemon had ended", err=True)
        return
    with _daemon(mountpoint) as daemon:
        if force:
            _force(mountpoint, daemon)
            return
        device = mounts.device_of(mountpoint)
        _unmount(mountpoint)
        if daemon is not None and not daemon.ends_within(END_S):
            raise UnmountFailed(
                _still_there(mountpoint, daemon.pid, processes.namespace_holders(device))
            )


def _still_there(mountpoint: str, pid: int, keepers: list[processes.HoldingProcess]) -> str:
    if keepers:
        return (
            f"{mountpoint} is unmounted here, but its daemon (pid {pid}) still serves the"
            f" containers of{_rows(keepers)}\nend those, or the daemon: kill {pid}"
        )
    return (
        f"{mountpoint} is unmounted, but its daemon (pid {pid}) has not ended after {END_S:.0f} s;"
        f" to end it: kill -KILL {pid}"
    )


def _force(mountpoint: str, daemon: processes.ProcessHandle | None) -> None:
    """Open files of the mount stay open and say ENOTCONN."""
    if daemon is not None and not _ended(daemon):
        raise UnmountFailed(f"the daemon of {mountpoint} (pid {daemon.pid}) cannot be killed")
    if mounts.is_mounted(mountpoint):
        mounts.unmount(mountpoint, lazy=True)


def _ended(daemon: processes.ProcessHandle) -> bool:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            daemon.send(number)
        except ProcessLookupError:
            return True
        except PermissionError:
            raise UnmountFailed(f"the daemon (pid {daemon.pid}) is another user's") from None
        if daemon.ends_within(FORCE_S):
            return True
    return False


@contextlib.contextmanager
def _daemon(mountpoint: str) -> Iterator[processes.ProcessHandle | None]:
    """Held by descriptor from before the unmount, so its pid cannot become another's."""
    pid = processes.daemon_of(mountpoint)
    watched = None
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            watched = processes.ProcessHandle(pid)
    try:
        yield watched
    finally:
        if watched is not None:
            watched.close()


def _unmount(mountpoint: str) -> None:
    try:
        mounts.unmount(mountpoint)
    except Busy as error:
        holders = [h for h in processes.holders(mountpoint) if h.pid != os.getpid()]
        told = f"{error.message}{_used_by(holders)}"
        raise Busy(f"{told}\nto unmount it all the same: mountctl umount --force") from None


def _used_by(holders: list[processes.HoldingProcess]) -> str:
    if not holders:
        return " by a process that waits in open(2), or cannot be seen from here"
    return f" by{_rows(holders)}"


def _rows(holders: list[processes.HoldingProcess]) -> str:
    rows = [f"\n  {h.pid} ({h.how} {h.path}) {h.command}" for h in holders[:HOLDERS_SHOWN]]
    more = len(holders) - len(rows)
    return "".join(rows) + (f"\n  and {more} more" if more else "")
