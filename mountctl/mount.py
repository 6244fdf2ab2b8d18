"""``mountctl mount``: it returns when the mount can be used, or leaves nothing behind."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import click

from jaxfs.options import Options
from mountctl import daemon, mountpoint_guard, mounts, preflight, statedir
from mountctl.arguments import MountArguments
from mountctl.errors import AlreadyMounted, BadOption, NotAnswering, StateDirUnusable
from mountctl.signals import record_stop_signals
from mountctl.timeouts import within


@attrs.frozen
class MountRequest:
    """The command line of ``mount``, with absolute paths."""

    mountpoint: str
    options: Options
    state_dir: Path
    log_file: Path | None  # None: in the state directory, or stderr in the foreground
    foreground: bool
    timeout_s: float
    guard: str = "none"
    session_fd: int = -1  # /dev/fuse, mounted there already

    @classmethod
    def from_arguments(cls, directory: str, arguments: MountArguments) -> MountRequest:
        """What was said on a command line.  Raises NoMountPoint for a /dev/fd/N that is none."""
        command = arguments.command
        session_fd = mounts.descriptor(directory)
        mountpoint = mounts.locate(directory) if session_fd < 0 else mounts.mounted_by(session_fd)
        state_dir = command.state_dir
        return cls(
            mountpoint=mountpoint,
            options=arguments.options,
            state_dir=Path(state_dir).resolve() if state_dir else statedir.default(mountpoint),
            log_file=Path(command.log_file).resolve() if command.log_file else None,
            foreground=command.foreground,
            timeout_s=command.timeout,
            guard=command.guard,
            session_fd=session_fd,
        )


def check(wanted: MountRequest) -> None:
    """Make way, and raise what would keep it from being mounted as far as can be told before."""
    if wanted.session_fd < 0:
        _make_way(wanted.mountpoint)
        preflight.check(preflight.PreflightRequest(wanted.mountpoint, wanted.options))
    elif not mounts.enforces_modes(wanted.mountpoint):
        raise BadOption(
            f"{wanted.mountpoint} is mounted with allow_other and without default_permissions:"
            " everybody could do everything; add default_permissions"
        )
    _check_paths(wanted)


def mount(wanted: MountRequest, say: Callable[[str], None] = click.echo) -> int:
    """Mount, and in the foreground stay until unmounted.  Returns the exit code."""
    check(wanted)
    with (
        record_stop_signals() as stop,
        statedir.prepared(wanted.state_dir, wanted.mountpoint),
        _ground(wanted) as ground,
        _started(wanted) as process,
    ):
        verdict = process.await_ready(wanted.timeout_s, stop)
        _verify(wanted.mountpoint)
        stop.check()
        if ground is not None:
            ground.guard(wanted.guard)
        say(f"{wanted.mountpoint}: {verdict.engine}, ready in {verdict.seconds:.2f} s")
        return process.run_until_ended(stop) if wanted.foreground else 0


def _make_way(mountpoint: str) -> None:
    """Refuse a second mount; clean what a dead daemon left."""
    while mounts.is_mounted(mountpoint):
        if not mounts.is_stale(mountpoint):
            raise AlreadyMounted(
                f"{mountpoint} is already mounted; to unmount it: mountctl umount {mountpoint}"
            )
        mounts.unmount(mountpoint, lazy=True)
        click.echo(f"{mountpoint}: removed a stale mount; its daemon had ended", err=True)


def _check_paths(wanted: MountRequest) -> None:
    for path in (wanted.mountpoint, str(wanted.state_dir)):
        if not path.isprintable():  # bytes that are not UTF-8 would not survive the way
            raise StateDirUnusable(f"{path!r} is not printable UTF-8; choose another directory")
    for place in (wanted.state_dir, wanted.log_file):
        if place is not None:
            statedir.check(place, wanted.mountpoint)


def _log_of(wanted: MountRequest) -> Path | None:
    if wanted.log_file or wanted.foreground:
        return wanted.log_file
    return wanted.state_dir / statedir.LOG_NAME


@contextmanager
def _ground(wanted: MountRequest) -> Iterator[mountpoint_guard.UnderlyingDirectory | None]:
    """The directory below; None where it cannot be had, because it is covered already."""
    if wanted.session_fd >= 0:
        yield None
        return
    with mountpoint_guard.open_underlying(wanted.mountpoint, wanted.state_dir) as ground:
        ground.allow_owner_writes()
        yield ground


@contextmanager
def _started(wanted: MountRequest) -> Iterator[daemon.DaemonProcess]:
    """A daemon that goes on after the context, or is put down where that fails."""
    try:
        process = daemon.start(
            wanted.mountpoint,
            wanted.state_dir,
            wanted.options,
            _log_of(wanted),
            wanted.session_fd,
        )
    except OSError as error:
        raise StateDirUnusable(f"the log cannot be written: {error}") from None
    try:
        yield process
    except BaseException:
        process.terminate()
        if mounts.is_mounted(wanted.mountpoint):
            mounts.unmount(wanted.mountpoint, lazy=True)
        raise
    finally:
        os.close(process.ready_fd)


def _verify(mountpoint: str) -> None:
    """See with own eyes: it is mounted, and a file in it can be read.  Raises NotAnswering."""
    try:
        version = within(mounts.ANSWER_S, lambda: Path(mountpoint, "version").read_bytes())
    except (OSError, TimeoutError) as error:
        raise NotAnswering(f"the new mount {mountpoint} does not answer: {error}") from None
    if not version or not mounts.is_mounted(mountpoint):
        raise NotAnswering(f"{mountpoint} does not show the new mount")
