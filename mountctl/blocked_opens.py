"""The files that processes wait to open.

A process in open(2) of an unfinished result keeps the mount busy, and has no descriptor of the file
yet.  proc(5) shows in which kernel function it sleeps, in which system call, and where in its
memory the path is.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
SLEEPS_IN = "request_wait_answer"  # fs/fuse/dev.c: a request was sent, and has no answer yet
OPENAT = {"x86_64": 257, "aarch64": 56}.get(platform.machine(), -1)
AT_FDCWD = 0xFFFFFF9C  # fcntl.h: -100 in 32 bits
PATH_BYTES, PAGE_BYTES = 4096, 4096


def blocked_opens(pid: int) -> Iterator[str]:
    """Yields the absolute paths that threads of a process wait to open.

    Yields nothing if proc(5) does not let us read the process.
    """
    for task in (PROC / str(pid) / "task").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if (task / "wchan").read_text() != SLEEPS_IN:
                continue
            # proc_pid_syscall(5): the number of the call, then six arguments
            number, *arguments = (task / "syscall").read_text().split()
            if int(number) == OPENAT:
                directory, address = int(arguments[0], 16), int(arguments[1], 16)
                name = _read_string(task / "mem", address)
                is_relative = directory & 0xFFFFFFFF == AT_FDCWD
                link = task / ("cwd" if is_relative else f"fd/{directory}")
                # normpath asks no filesystem, which may hang
                yield os.path.normpath(Path(os.readlink(link), name))  # noqa: PTH115  # see above


def _read_string(memory: Path, address: int) -> str:
    """Returns the C string at an address; reads by pages, as the next one may not be mapped."""
    found = b""
    with memory.open("rb", buffering=0) as file:
        while b"\0" not in found and len(found) < PATH_BYTES:
            file.seek(address + len(found))
            found += file.read(PAGE_BYTES - (address + len(found)) % PAGE_BYTES)
    return os.fsdecode(found.partition(b"\0")[0])
