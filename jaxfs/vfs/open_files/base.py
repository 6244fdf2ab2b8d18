"""Open files: what read, write, flush and release do on each kind."""

from __future__ import annotations

import trio

from jaxfs.errors import NotPermitted
from jaxfs.posix.credentials import Credentials
from jaxfs.programs.commits import Commit, Work


class OpenFile:
    """An open file; several descriptors may share it.

    Its operations refuse or do nothing.  A kind of file overrides those that it supports.

    Attributes:
        direct_io: Whether reads bypass the kernel's page cache.
        keep_cache: Whether pages that the kernel has from an earlier open are still right: only
            for content that never changes.
        path: Its path in the mount, for `error_log`; set by open.
        caller: Who opened it; set by open.
        ino: Its inode; set by open.
        descriptors: How many descriptors of the daemon it has.
        held_bytes: What it keeps in memory besides what is charged by a spool.
        writer: The thread that wrote last, 0 if none did.
        is_plain: Whether what was written is of use if the writer was killed before the end.
        is_half_written: Whether a signal killed the process that wrote last.
        mtime_ns: The modification time that utimes(2) set since the last write.  A commit keeps it.
        target: What its commits change; set by open.
        commit: The last commit, under way or ended; None if something was written since then.
    """

    direct_io = True
    keep_cache = False
    path = ""
    caller = Credentials(0, 0)
    ino = 0
    descriptors = 0
    held_bytes = 0
    writer = 0
    is_plain = True
    is_half_written = False
    mtime_ns: int | None = None
    target: object = None
    commit: Commit | None = None

    async def read(self, offset: int, size: int) -> bytes | memoryview:
        """Returns bytes of the content; may wait.

        Args:
            offset: Where they begin; a stream ignores it.
            size: How many at most.

        Raises:
            NotPermitted: The file cannot be read.
        """
        raise NotPermitted("this file cannot be read")

    async def write(self, offset: int, data: bytes) -> int:
        """Takes bytes, and returns how many; may wait.

        Args:
            offset: Where they begin; a stream ignores it.
            data: The bytes.

        Raises:
            NotPermitted: The file cannot be written.
        """
        raise NotPermitted("this file cannot be written")

    def read_now(self, offset: int, size: int) -> bytes | None:
        """Reads without a turn of the event loop, where that is possible.

        Returns:
            What `read` would; None if that has to wait.
        """
        return None

    def write_now(self, offset: int, data: bytes) -> bool:
        """Writes without a turn of the event loop, where that is possible.

        Returns:
            Whether it was written; if not, `write` has to be called.
        """
        return False

    def is_dirty(self) -> bool:
        """Whether a flush would commit something."""
        return False

    def take_commit(self) -> Work | None:
        """Takes what is new, as a descriptor is being closed.

        The work belongs to the mount: it may go on after `release`, and nothing that is written
        later changes it.

        Returns:
            The work that commits it; None if there is nothing new.
        """
        return None

    def take_empty_commit(self) -> Work | None:
        """Takes the commit of a file that was never written, as its last descriptor is closed.

        Returns:
            The work; None if what the file is for needs bytes, or has them.
        """
        return None

    async def truncate(self, size: int) -> None:
        """Cuts or extends the content to `size` bytes.

        Raises:
            NotPermitted: The file cannot be truncated.
        """
        raise NotPermitted("this file cannot be truncated")

    def release(self) -> None:
        """Frees what it holds: the last descriptor is closed."""

    def pending_size(self) -> int | None:
        """Returns the size that stat(2) shows while the file is being written.

        Returns:
            The bytes written so far; None if the committed size counts.
        """
        return None

    def fixed_size(self) -> int:
        """Returns the size of what never changes, if `direct_io` is off."""
        return 0

    def is_readable(self) -> bool:
        """Whether a read would not wait."""
        return True

    def is_changed(self) -> bool:
        """Whether the object differs from what was read: poll(2) then reports POLLPRI."""
        return False

    def next_change(self) -> trio.Event | None:
        """Returns what poll(2) waits for.

        Returns:
            An event, set when `is_readable` or `is_changed` may differ; None if they never do.
        """
        return None
