"""Releases memory that a waiting process does not need: code that it imported and ran once.

Of JAX's libraries 70 MB of machine code are touched while they are imported.  They stay in the
page cache; a child that needs a page maps it again in less than a microsecond.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
from pathlib import Path

from jaxfs.posix import syscalls


def drop_code() -> None:
    """Drops the pages of all executable file mappings, which are never written to."""
    with contextlib.suppress(OSError):  # /proc may be hidden; then the pages stay
        for line in Path("/proc/self/maps").read_text().splitlines():
            span, modes, _, _, _, *path = line.split(maxsplit=5)
            if modes == "r-xp" and path and path[0].startswith("/"):
                start, end = (int(number, 16) for number in span.split("-"))
                address, length = ctypes.c_void_p(start), ctypes.c_size_t(end - start)
                syscalls.call_libc("madvise", address, length, mmap.MADV_DONTNEED)
