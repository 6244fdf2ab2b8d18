"""The files that processes wait to open.

A process in open(2) of an unfinished result keeps the mount busy and has no descriptor yet.
proc(5) tells where it sleeps, in which system call, and where in its memory the path stands.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
ASLEEP_IN = "request_wait_answer"  # fs/fuse/dev.c: a request was sent, its answer did not come
OPENAT = {"x86_64": 257, "aarch64": 56}.get(platform.machine(), -1)
AT_FDCWD = 0xFFFFFF9C  # fcntl.h: -100
PATH_BYTES, PAGE_BYTES = 4096, 4096


def opening(pid: int) -> Iterator[str]:
    """Absolute paths; empty where the process may not be looked into."""
    for task in (PROC / str(pid) / "task").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if (task / "wchan").read_text() == ASLEEP_IN:
                yield from _path(task)


def _path(task: Path) -> Iterator[str]:
    """See proc_pid_syscall(5): the number, then six arguments."""
    number, *words = (task / "syscall").read_text().split()
    if int(number) != OPENAT:
        return
    directory, address = int(words[0], 16), int(words[1], 16)
    name = _string(task / "mem", address)
    link = task / ("cwd" if directory & 0xFFFFFFFF == AT_FDCWD else f"fd/{directory}")
    yield os.path.normpath(Path(os.readlink(link), name))  # noqa: PTH115  # asks no filesystem


def _string(memory: Path, address: int) -> str:
    """Up to the zero; page by page, because the next one may not be there."""
    found = b""
    with memory.open("rb", buffering=0) as file:
        while b"\0" not in found and len(found) < PATH_BYTES:
            file.seek(address + len(found))
            found += file.read(PAGE_BYTES - (address + len(found)) % PAGE_BYTES)
    return os.fsdecode(found.partition(b"\0")[0])
