"""``mountctl umount``: it returns when the mount is gone and its daemon has ended."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import click

from mountctl import mounts, processes
from mountctl.errors import Busy, NotMounted, UnmountFailed

END_S = 30.0  # running calls are stopped, the engine closes its devices
HOLDERS_SHOWN = 10


def umount(mountpoint: str) -> None:
    """Raises NotMounted, Busy, UnmountFailed."""
    if not mounts.is_mounted(mountpoint):
        raise NotMounted(f"no jaxfs is mounted on {mountpoint}; mountctl status lists the mounts")
    if mounts.is_stale(mountpoint):
        mounts.unmount(mountpoint, lazy=True)
        click.echo(f"{mountpoint}: removed a stale mount; its daemon had ended", err=True)
        return
    with _daemon(mountpoint) as daemon:
        _unmount(mountpoint)
        if daemon is not None and not daemon.ends_within(END_S):
            raise UnmountFailed(
                f"{mountpoint} is unmounted, but its daemon (pid {daemon.pid}) has not ended"
                f" after {END_S:.0f} s; to end it: kill -KILL {daemon.pid}"
            )


@contextlib.contextmanager
def _daemon(mountpoint: str) -> Iterator[processes.Watched | None]:
    """Held by descriptor from before the unmount, so its pid cannot become another's."""
    pid = processes.daemon_of(mountpoint)
    watched = None
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            watched = processes.Watched(pid)
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
        raise Busy(f"{error.message}{_used_by(holders)}") from None


def _used_by(holders: list[processes.Holder]) -> str:
    if not holders:
        return " by a process that cannot be seen from here"
    rows = [f"  {h.pid} ({h.how}) {h.command}" for h in holders[:HOLDERS_SHOWN]]
    more = len(holders) - len(rows)
    return " by\n" + "\n".join(rows) + (f"\n  and {more} more" if more else "")
