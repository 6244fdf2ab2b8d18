"""Processes around a mount: its daemon, and those that use its files.

A daemon is found by its command line, which names the mount point: there is no pid file that could
be wrong after a crash.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import attrs
import msgspec

from mountctl.blocked_opens import blocked_opens
from mountctl.mounts import parse

PROC = Path("/proc")


class LogOptions(msgspec.Struct, frozen=True):
    """The options of a running daemon that commands need.

    Attributes:
        log_format: As in ``jaxfs.options.Options``.
    """

    log_format: str = "text"


class DaemonDocument(msgspec.Struct, frozen=True):
    """The part of a daemon's command line that commands need; ``mountctl.daemon`` writes all of it.

    Attributes:
        mountpoint: Absolute path.
        state_dir: Absolute path.
        options: The mount options; unknown ones, of another version of jaxfs, are ignored.
    """

    mountpoint: str
    state_dir: str
    options: LogOptions = LogOptions()


@attrs.frozen
class RunningDaemon:
    """A process that serves a mount.

    Attributes:
        pid: Its process id.
        document: What it was started with.
    """

    pid: int
    document: DaemonDocument


@attrs.frozen
class HoldingProcess:
    """A process that keeps a mount busy, and the first file it does so with.

    Attributes:
        pid: Its process id.
        command: Its arguments, separated by spaces.
        how: Such as ``cwd``, ``fd 3``, ``mmap`` or ``waits to open``.
        path: The file.
    """

    pid: int
    command: str
    how: str
    path: str = ""


def _pids() -> Iterator[int]:
    return (int(path.name) for path in PROC.iterdir() if path.name.isdigit())


def command_of(pid: int) -> list[str]:
    """Returns a process's arguments; none for a kernel thread, or if the process has ended."""
    try:
        raw = (PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return []
    return os.fsdecode(raw).split("\0")[:-1]


def document_of(command: list[str]) -> DaemonDocument | None:
    """Returns what a daemon was started with, or None if a command line is not a daemon's.

    >>> document = '{"mountpoint": "/jax", "state_dir": "/s"}'
    >>> document_of(["python", "-P", "-m", "jaxfs", document]).mountpoint
    '/jax'
    >>> document_of(["python", "-m", "http.server", "8000"]) is None
    True
    """
    if command[-3:-1] != ["-m", "jaxfs"]:
        return None
    try:
        return msgspec.json.decode(os.fsencode(command[-1]), type=DaemonDocument)
    except (msgspec.DecodeError, UnicodeDecodeError):  # msgspec has no error of its own for UTF-8
        return None


def running_daemons() -> Iterator[RunningDaemon]:
    """Yields the daemons of all mounts, those of other mount namespaces too."""
    for pid in _pids():
        document = document_of(command_of(pid))
        if document is not None:
            yield RunningDaemon(pid, document)


def find_daemon(mountpoint: str) -> RunningDaemon | None:
    """Returns the daemon of a mount point in this mount namespace.

    A container may serve the same path in a namespace of its own.
    """
    for daemon in running_daemons():
        if daemon.document.mountpoint == mountpoint:
            with contextlib.suppress(OSError):  # another user's process does not show its namespace
                if _mount_namespace(daemon.pid) != _mount_namespace(os.getpid()):
                    continue
            return daemon
    return None


def daemon_of(mountpoint: str) -> int | None:
    """Returns the pid of a mount point's daemon."""
    daemon = find_daemon(mountpoint)
    return None if daemon is None else daemon.pid


def _mount_namespace(pid: int) -> str:
    return os.readlink(PROC / str(pid) / "ns/mnt")  # noqa: PTH115  # names no file


def holders(mountpoint: str) -> list[HoldingProcess]:
    """Returns the processes that use files of a mount and let us see that."""
    inside = mountpoint.rstrip("/") + "/"
    found = []
    for pid in _pids():
        with contextlib.suppress(OSError):
            paths = _open_paths(pid)
            used = next(((how, path) for how, path in paths if f"{path}/".startswith(inside)), None)
            if used is not None:
                found.append(HoldingProcess(pid, " ".join(command_of(pid)), *used))
    return found


def namespace_holders(device: str) -> list[HoldingProcess]:
    """Returns one process for each mount namespace that still has a filesystem mounted.

    A container's namespace keeps its copy of a mount after the unmount outside.

    Args:
        device: The filesystem's device number, ``MountInfo.device``.
    """
    found: dict[str, HoldingProcess] = {}
    for pid in _pids():
        with contextlib.suppress(OSError):
            text = (PROC / str(pid) / "mountinfo").read_text(errors="surrogateescape")
            places = [mount.mountpoint for mount in parse(text) if mount.device == device]
            namespace = _mount_namespace(pid)
            if places and namespace not in found:
                command = " ".join(command_of(pid))
                found[namespace] = HoldingProcess(pid, command, "mounted on", places[0])
    return list(found.values())


def _open_paths(pid: int) -> Iterator[tuple[str, str]]:
    """Yields (how, path) of the files that a process uses.

    Links are read and not followed: that asks no filesystem, which may hang.
    """
    home = PROC / str(pid)
    for path in blocked_opens(pid):
        yield "waits to open", path
    for how in ("cwd", "root", "exe"):
        with contextlib.suppress(OSError):
            yield how, os.readlink(home / how)  # noqa: PTH115  # the path as it is
    for link in (home / "fd").iterdir():
        with contextlib.suppress(OSError):
            yield f"fd {link.name}", os.readlink(link)  # noqa: PTH115  # the path as it is
    for line in (home / "maps").read_text(errors="surrogateescape").splitlines():
        yield "mmap", line.split(maxsplit=5)[-1]


class ProcessHandle:
    """A process, held by pidfd_open(2): its pid cannot become that of another process.

    As a context manager it is closed at the end.
    """

    def __init__(self, pid: int) -> None:
        """Opens a process that need not be a child.

        Raises:
            ProcessLookupError: if it has ended already.
        """
        self.pid = pid
        self._fd = os.pidfd_open(pid)

    def ends_within(self, timeout_s: float) -> bool:
        """Waits for at most so many seconds; returns whether the process has ended."""
        ready, _, _ = select.select([self._fd], [], [], timeout_s)
        return bool(ready)

    def send(self, number: signal.Signals) -> None:
        """Sends a signal; raises ProcessLookupError if the process has ended."""
        signal.pidfd_send_signal(self._fd, number)

    def __enter__(self) -> ProcessHandle:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._fd)
