"""``mountctl mount``: returns when the mount can be used, or leaves nothing behind."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import click

from jaxfs.errors import Invalid
from jaxfs.options import Options
from jaxfs.posix import device_selection
from mountctl import daemon, mountpoint_guard, mounts, preflight, statedir
from mountctl.arguments import MountArguments
from mountctl.errors import AlreadyMounted, BadOption, NotAnswering, StateDirUnusable
from mountctl.signals import StopRequest
from mountctl.timeouts import within


@attrs.frozen
class MountRequest:
    """The command line of ``mount``, with absolute paths.

    Attributes:
        mountpoint: The directory to mount on.
        options: The mount options.
        state_dir: The directory for programs, caches and the log.
        log_file: None for a log in the state directory, or on stderr in the foreground.
        foreground: Whether the command stays until the mount ends.
        timeout_s: How long to wait for the daemon.
        guard: How the directory under the mount is kept empty, as in ``mountpoint_guard``.
        session_fd: /dev/fuse, mounted there already; -1 for the usual case.
    """

    mountpoint: str
    options: Options
    state_dir: Path
    log_file: Path | None
    foreground: bool
    timeout_s: float
    guard: str = "none"
    session_fd: int = -1

    @classmethod
    def from_arguments(cls, directory: str, arguments: MountArguments) -> MountRequest:
        """Returns the request of a command line.

        Args:
            directory: The mount point, or ``/dev/fd/N`` for a session that mount.fuse3 has opened.
            arguments: All options.

        Raises:
            NoMountPoint: if ``/dev/fd/N`` is not a mounted session.
        """
        launch = arguments.launch
        session = re.fullmatch(r"/dev/fd/(\d+)", directory, re.ASCII)
        session_fd = int(session[1]) if session else -1
        mountpoint = mounts.mounted_by(session_fd) if session else mounts.locate(directory)
        state_dir = launch.state_dir
        return cls(
            mountpoint=mountpoint,
            options=arguments.options,
            state_dir=Path(state_dir).resolve() if state_dir else statedir.default(mountpoint),
            log_file=Path(launch.log_file).resolve() if launch.log_file else None,
            foreground=launch.foreground,
            timeout_s=launch.timeout,
            guard=launch.guard,
            session_fd=session_fd,
        )


def check(request: MountRequest) -> None:
    """Raises what would make the mount fail; removes a stale mount that is in the way."""
    if request.session_fd < 0:
        while mounts.is_mounted(request.mountpoint):
            if not mounts.is_stale(request.mountpoint):
                raise AlreadyMounted(
                    f"{request.mountpoint} is already mounted; to unmount it:"
                    f" mountctl umount {request.mountpoint}"
                )
            mounts.remove_stale(request.mountpoint)
        for run_check in preflight.CHECKS:
            run_check(preflight.PreflightRequest(request.mountpoint, request.options))
    elif not mounts.topmost(request.mountpoint).enforces_modes:
        raise BadOption(
            f"{request.mountpoint} is mounted with allow_other and without default_permissions:"
            " any user could do anything; add default_permissions"
        )
    _check_paths(request)
    try:
        device_selection.check(device_selection.Selection.of(request.options))
    except Invalid as error:
        raise BadOption(error.reason) from None


def mount(request: MountRequest, report: Callable[[str], None] = click.echo) -> int:
    """Mounts, and in the foreground waits until it is unmounted.

    Args:
        request: What to mount, and where.
        report: Is called with one line when the mount can be used.

    Returns:
        The exit code.

    Raises:
        MountctlError: if it cannot be mounted; then nothing is left of the attempt.
    """
    check(request)
    with (
        StopRequest() as stop,
        statedir.prepared(request.state_dir, request.mountpoint),
        _underlying(request) as underlying,
        _started_daemon(request) as process,
    ):
        message = process.await_ready(request.timeout_s, stop)
        _verify(request.mountpoint)
        stop.check()
        if underlying is not None:
            underlying.guard(request.guard)
        report(f"{request.mountpoint}: {message.engine}, ready in {message.seconds:.2f} s")
        return process.run_until_ended(stop) if request.foreground else 0


def _check_paths(request: MountRequest) -> None:
    for path in (request.mountpoint, str(request.state_dir)):
        if not path.isprintable():  # the daemon gets paths as JSON, which is UTF-8
            raise StateDirUnusable(f"{path!r} is not printable UTF-8; choose another directory")
    for place in (request.state_dir, request.log_file):
        if place is not None and place.is_relative_to(request.mountpoint):
            raise StateDirUnusable(
                f"{place} is inside the mount point {request.mountpoint} and would be hidden by the"
                " mount; name another place"
            )


@contextmanager
def _underlying(request: MountRequest) -> Iterator[mountpoint_guard.UnderlyingDirectory | None]:
    """Opens the directory under the mount; None if the session covers it already."""
    if request.session_fd >= 0:
        yield None
        return
    with mountpoint_guard.open_underlying(request.mountpoint, request.state_dir) as underlying:
        underlying.allow_owner_writes()
        yield underlying


@contextmanager
def _started_daemon(request: MountRequest) -> Iterator[daemon.DaemonProcess]:
    """Starts a daemon that goes on after the context; if the context fails, terminates it."""
    is_logged = request.log_file is not None or request.foreground
    log = request.log_file if is_logged else request.state_dir / statedir.LOG_NAME
    try:
        process = daemon.start(
            request.mountpoint, request.state_dir, request.options, log, request.session_fd
        )
    except OSError as error:
        raise StateDirUnusable(f"the log cannot be written: {error}") from None
    try:
        yield process
    except BaseException:
        process.terminate()
        if mounts.is_mounted(request.mountpoint):
            mounts.unmount(request.mountpoint, lazy=True)
        raise
    finally:
        os.close(process.ready_fd)


def _verify(mountpoint: str) -> None:
    """Raises NotAnswering unless it is mounted and a file in it can be read."""
    try:
        version = within(mounts.ANSWER_S, lambda: Path(mountpoint, "version").read_bytes())
    except (OSError, TimeoutError) as error:
        raise NotAnswering(f"the new mount {mountpoint} does not answer: {error}") from None
    if not version or not mounts.is_mounted(mountpoint):
        raise NotAnswering(f"{mountpoint} does not show the new mount")
