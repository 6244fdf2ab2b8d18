"""Files that take bytes and commit them when they are closed."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

import trio

from jaxfs.ipc.spool import Spool
from jaxfs.programs.commits import Work
from jaxfs.vfs.open_files.base import OpenFile

CommitBytes = Callable[[Spool], Awaitable[None]]


class UploadFile(OpenFile):
    """A file that is written as a whole and committed by the flush after the last write.

    A flush with nothing new begins nothing: shells flush before they write.  It waits for the last
    commit, if nothing was written since: numpy writes through a duplicate of the descriptor, and
    ignores the error of closing that one, so each close reports a failed commit.

    What is written while a commit is under way changes the file, not the commit, and is committed
    by the next flush.
    """

    def __init__(
        self,
        spool: Spool,
        commit: CommitBytes,
        flags: int,
        before: Callable[[], bytes] = bytes,
        *,
        plain: bool = False,
        released: trio.Event | None = None,
    ) -> None:
        """Fills the spool with what is there already.

        Args:
            spool: Takes the bytes; the file closes it.
            commit: Gets a spool of the bytes, which is closed after it, and begins the work; what
                it returns waits for the end and raises the error of close(2).
            flags: Those of open(2).
            before: Returns the content that is there, unless O_TRUNC drops it.
            plain: Whether any content is right, also none after O_TRUNC, and half of it after
                the writer was killed.
            released: Set when the last descriptor is closed, if the file may be committed then
                without a write.
        """
        self._spool = spool
        self._commit_bytes = commit
        self.is_plain = plain
        self._appends = bool(flags & os.O_APPEND)
        self._preparing = trio.Lock()
        self._dirty = plain and bool(flags & os.O_TRUNC)
        self._released = released
        self._is_untouched = True
        try:
            kept = b"" if flags & os.O_TRUNC else before()
            if kept:
                spool.write(0, kept)
        except BaseException:
            spool.close()
            raise

    async def read(self, offset: int, size: int) -> bytes:
        """Returns bytes that were written, or were there before."""
        return self._spool.read(offset, size)

    async def write(self, offset: int, data: bytes) -> int:
        """Takes bytes for `offset`, or for the end with O_APPEND.

        Raises:
            TooBig: The file would be over the mount's limit.
            OverQuota: The user would exceed the share of one user.
        """
        self._dirty, self.mtime_ns, self._is_untouched = True, None, False
        self.commit, self.is_half_written = None, False
        await self._prepare(offset, offset + len(data))
        if self._appends:  # the kernel's offset may be the end of what another writer has
            return self._spool.append(data)
        return self._spool.write(offset, data)

    async def truncate(self, size: int) -> None:
        """Cuts or extends what was written."""
        if size != self._spool.size:
            self._dirty, self.commit, self.is_half_written = True, None, False
            self._is_untouched = False
        await self._prepare(size, size)
        self._spool.truncate(size)

    async def _prepare(self, offset: int, end: int) -> None:
        """Lets others have their turn while the spool makes much room.

        Other writes of this file wait meanwhile.
        """
        if self._spool.is_slow(offset, end) or self._preparing.locked():
            async with self._preparing:
                for _ in self._spool.prepare(offset, end):
                    await trio.lowlevel.checkpoint()

    def is_dirty(self) -> bool:
        """Whether there is something new; nothing at all counts only where it is right."""
        return self._dirty and (self.is_plain or self._spool.size > 0)

    def take_commit(self) -> Work | None:
        """Takes the bytes as they are now; None if nothing is new."""
        if not self.is_dirty():
            return None
        self._dirty = False
        return self._work()

    def take_empty_commit(self) -> Work | None:
        """Takes no bytes, where none are needed and the writer was not killed."""
        if self._released is None or not self._is_untouched or self.is_half_written:
            return None
        return self._work()

    def _work(self) -> Work:
        spool = self._spool.share()
        committed = self._commit_bytes(spool)

        async def work() -> None:
            try:
                await committed
            finally:
                spool.close()

        return work

    def pending_size(self) -> int | None:
        """Returns the number of bytes that were written, or were there before."""
        return self._spool.size

    def release(self) -> None:
        """Frees the bytes."""
        self._spool.close()
        if self._released is not None:
            self._released.set()
