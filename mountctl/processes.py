"""Processes around a mount: its daemon, and those that use it.

The daemon is found by its command line, which names the mount point: no file has to be kept that
could be wrong after a crash.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from mountctl import blocked_opens
from mountctl.mounts import parse

PROC = Path("/proc")


@attrs.frozen
class HoldingProcess:
    """A process that keeps a mount busy, and the first file it does so with."""

    pid: int
    command: str
    how: str
    path: str = ""


def _pids() -> Iterator[int]:
    return (int(path.name) for path in PROC.iterdir() if path.name.isdigit())


def command_of(pid: int) -> list[str]:
    """The arguments; empty for a kernel thread, or where the process has ended."""
    try:
        raw = (PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return []
    return os.fsdecode(raw).split("\0")[:-1]


def commands() -> Iterator[list[str]]:
    """Those of all processes."""
    return (command_of(pid) for pid in _pids())


def document_of(command: list[str]) -> dict[str, Any]:
    """What a daemon was started with, ``... -m jaxfs '<json>'``; empty for other processes."""
    if command[-3:-1] != ["-m", "jaxfs"]:
        return {}
    try:
        document = json.loads(command[-1])
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def served_by(command: list[str]) -> str | None:
    """The mount point in a daemon's command line."""
    return document_of(command).get("mountpoint")


def _sees_our_mounts(pid: int) -> bool:
    """Whether its paths are ours: a container may serve the same path in its own namespace."""
    try:
        theirs = os.readlink(PROC / str(pid) / "ns/mnt")  # noqa: PTH115  # no file's path
    except OSError:
        return True  # another user's: not known
    return theirs == os.readlink(PROC / "self/ns/mnt")  # noqa: PTH115  # no file's path


def daemon_of(mountpoint: str) -> int | None:
    """The pid of the daemon that serves a mount point."""
    for pid in _pids():
        if served_by(command_of(pid)) == mountpoint and _sees_our_mounts(pid):
            return pid
    return None


def holders(mountpoint: str) -> list[HoldingProcess]:
    """The processes that use files of a mount, as far as we may see them."""
    found = []
    for pid in _pids():
        with contextlib.suppress(OSError):
            used = next(((how, p) for how, p in _open_paths(pid) if _inside(p, mountpoint)), None)
            if used is not None:
                found.append(HoldingProcess(pid, " ".join(command_of(pid)), *used))
    return found


def namespace_holders(device: str) -> list[HoldingProcess]:
    """One process for each mount namespace that still has a filesystem, as far as we may see.

    A container's namespace keeps what it has a copy of, also after the unmount outside.
    """
    found: dict[str, HoldingProcess] = {}
    for pid in _pids():
        with contextlib.suppress(OSError):
            text = (PROC / str(pid) / "mountinfo").read_text(errors="surrogateescape")
            places = [mount.mountpoint for mount in parse(text) if mount.device == device]
            namespace = os.readlink(PROC / str(pid) / "ns/mnt")  # noqa: PTH115  # no file's path
            if places and namespace not in found:
                command = " ".join(command_of(pid))
                found[namespace] = HoldingProcess(pid, command, "mounted on", places[0])
    return list(found.values())


def _inside(path: str, mountpoint: str) -> bool:
    return path == mountpoint or path.startswith(mountpoint.rstrip("/") + "/")


def _open_paths(pid: int) -> Iterator[tuple[str, str]]:
    """(how, path) of what a process has open; reading links asks no filesystem."""
    home = PROC / str(pid)
    for path in blocked_opens.opening(pid):
        yield "waits to open", path
    for how in ("cwd", "root", "exe"):
        with contextlib.suppress(OSError):
            yield how, os.readlink(home / how)  # noqa: PTH115  # the path as it is
    for link in (home / "fd").iterdir():
        with contextlib.suppress(OSError):
            yield f"fd {link.name}", os.readlink(link)  # noqa: PTH115  # the path as it is
    for row in (home / "maps").read_text(errors="surrogateescape").splitlines():
        yield "mmap", row.split(maxsplit=5)[-1]


class ProcessHandle:
    """A process whose end can be waited for, whoever's child it is."""

    def __init__(self, pid: int) -> None:
        """Raises ProcessLookupError where it has ended already."""
        self.pid = pid
        self._fd = os.pidfd_open(pid)

    def ends_within(self, timeout_s: float) -> bool:
        """Wait; whether it ended."""
        ready, _, _ = select.select([self._fd], [], [], timeout_s)
        return bool(ready)

    def send(self, number: signal.Signals) -> None:
        """A signal to this very process.  Raises ProcessLookupError where it has ended."""
        signal.pidfd_send_signal(self._fd, number)

    def close(self) -> None:
        os.close(self._fd)
