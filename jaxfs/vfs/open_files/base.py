"""Open files: what read, write, flush and release do on each kind."""

from __future__ import annotations

import trio

from jaxfs.errors import NotPermitted
from jaxfs.posix.credentials import Credentials


class Handle:
    """An open file.  The defaults refuse; kinds override what they can do.

    ``direct_io`` keeps the kernel's page cache out of it; ``keep_cache`` lets pages of an earlier
    open serve (only for content that never changes).
    """

    direct_io = True
    keep_cache = False
    path = ""  # for error_log; set when opened
    caller = Credentials(0, 0)
    ino = 0
    writer = 0  # the thread that wrote last
    is_plain = True  # what is written to it is of use also when the writer was killed midway
    mtime_ns: int | None = None  # set by utimes since the last write; a commit keeps it

    async def read(self, offset: int, size: int) -> bytes | memoryview:
        raise NotPermitted("this file cannot be read")

    async def write(self, offset: int, data: bytes) -> int:
        raise NotPermitted("this file cannot be written")

    def read_now(self, offset: int, size: int) -> bytes | None:
        """What ``read`` would give, if that is there without any waiting; None to ask ``read``."""
        return None

    def write_now(self, offset: int, data: bytes) -> bool:
        """Do what ``write`` does, if that needs no waiting at all; False to ask ``write``."""
        return False

    async def flush(self) -> None:
        """A descriptor of this open file is being closed: commit what was written."""

    def is_dirty(self) -> bool:
        """Whether a flush would commit something."""
        return False

    async def truncate(self, size: int) -> None:
        raise NotPermitted("this file cannot be truncated")

    def release(self) -> None:
        """The last descriptor is closed."""

    def pending_size(self) -> int | None:
        """The size while it is being written, where that differs from the committed one."""
        return None

    def fixed_size(self) -> int:
        """The size of what never changes and goes through the page cache (not ``direct_io``)."""
        return 0

    def is_readable(self) -> bool:
        """Whether a read would not wait."""
        return True

    def is_changed(self) -> bool:
        """Whether poll(2) shall say POLLPRI: the object is not what was read."""
        return False

    def next_change(self) -> trio.Event | None:
        """Set when ``is_readable`` or ``is_changed`` may have changed."""
        return None
