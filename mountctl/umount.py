"""``mountctl umount``: returns when the mount is gone and its daemon has ended.

``--force`` unmounts also if the mount is in use: the daemon ends all waits and unmounts lazily, as
it does at SIGTERM.  If it does not react it is killed, which ends its engine and aborts the
connection.
"""

from __future__ import annotations

import contextlib
import os
import signal

from mountctl import mountpoint_guard, mounts, processes, statedir
from mountctl.errors import Busy, UnmountFailed
from mountctl.processes import HoldingProcess, ProcessHandle

END_S = 30.0  # running calls are stopped, the engine closes its devices
FORCE_S = 3.0  # usually it takes a tenth of a second
HOLDERS_SHOWN = 10
UNSEEN_HOLDER = "a process that waits in open(2), or cannot be seen from here"


def umount(mountpoint: str, *, force: bool = False, unguard: bool = False) -> None:
    """Unmounts, and waits until the daemon has ended.

    Args:
        mountpoint: Absolute path.
        force: End what uses the mount.
        unguard: Restore the directory's permissions; does so without a mount too.

    Raises:
        NotMounted: if no jaxfs is mounted there.
        Busy: if processes use the mount; the message names them.
        UnmountFailed: if the mount or the daemon cannot be ended.
    """
    state_dir = statedir.of(mountpoint)
    if mounts.is_mounted(mountpoint) or not unguard:
        _unmount_and_wait(mountpoint, force=force)
    if unguard:
        with mountpoint_guard.open_underlying(mountpoint, state_dir) as underlying:
            underlying.unguard()


def _unmount_and_wait(mountpoint: str, *, force: bool) -> None:
    mounts.require_mounted(mountpoint)
    if mounts.is_stale(mountpoint):
        mounts.remove_stale(mountpoint)
        return
    with _daemon_handle(mountpoint) or contextlib.nullcontext() as daemon:
        if force:
            if daemon is not None:
                _kill(daemon, mountpoint)
            if mounts.is_mounted(mountpoint):
                mounts.unmount(mountpoint, lazy=True)
            return
        device = mounts.topmost(mountpoint).device
        try:
            mounts.unmount(mountpoint)
        except Busy as error:
            holders = [h for h in processes.holders(mountpoint) if h.pid != os.getpid()]
            users = _list_holders(holders) or f" {UNSEEN_HOLDER}"
            advice = "to unmount it all the same: mountctl umount --force"
            raise Busy(f"{error.message} by{users}\n{advice}") from None
        if daemon is not None and not daemon.ends_within(END_S):
            raise UnmountFailed(_describe_running(mountpoint, daemon.pid, device))


def _daemon_handle(mountpoint: str) -> ProcessHandle | None:
    """Returns the daemon, opened before the unmount so that its pid cannot become another's."""
    pid = processes.daemon_of(mountpoint)
    with contextlib.suppress(ProcessLookupError):
        return None if pid is None else ProcessHandle(pid)
    return None


def _describe_running(mountpoint: str, pid: int, device: str) -> str:
    holders = processes.namespace_holders(device)
    if holders:
        return (
            f"{mountpoint} is unmounted here, but its daemon (pid {pid}) still serves the"
            f" containers of{_list_holders(holders)}\nend those, or the daemon: kill {pid}"
        )
    return (
        f"{mountpoint} is unmounted, but its daemon (pid {pid}) has not ended after {END_S:.0f} s;"
        f" to end it: kill -KILL {pid}"
    )


def _kill(daemon: ProcessHandle, mountpoint: str) -> None:
    """Sends SIGTERM, then SIGKILL.  Open files of the mount stay open and return ENOTCONN."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            daemon.send(number)
        except ProcessLookupError:
            return
        except PermissionError:
            raise UnmountFailed(f"the daemon (pid {daemon.pid}) is another user's") from None
        if daemon.ends_within(FORCE_S):
            return
    raise UnmountFailed(f"the daemon of {mountpoint} (pid {daemon.pid}) cannot be killed")


def _list_holders(holders: list[HoldingProcess]) -> str:
    """Returns a line for each of the first holders."""
    lines = [f"\n  {h.pid} ({h.how} {h.path}) {h.command}" for h in holders[:HOLDERS_SHOWN]]
    more = len(holders) - len(lines)
    return "".join(lines) + (f"\n  and {more} more" if more else "")
