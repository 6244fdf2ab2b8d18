"""Files that take bytes and commit them when they are closed."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

from jaxfs.errors import JaxfsError
from jaxfs.ipc.spool import Spool
from jaxfs.vfs.open_files.base import OpenFile

Commit = Callable[[Spool], Awaitable[None]]


class UploadFile(OpenFile):
    """A file that is written as a whole and committed by the flush after the last write.

    A flush with nothing new does nothing: shells flush before they write.  A failed commit is
    reported by each close until something new is written: numpy writes through a duplicate of the
    descriptor, and ignores the error of closing that one.
    """

    def __init__(
        self,
        spool: Spool,
        commit: Commit,
        flags: int,
        before: Callable[[], bytes] = bytes,
        *,
        plain: bool = False,
    ) -> None:
        """Fills the spool with what is there already.

        Args:
            spool: Takes the bytes; the file closes it.
            commit: Gets the spool; what it raises is the error of close(2).
            flags: Those of open(2).
            before: Returns the content that is there, unless O_TRUNC drops it.
            plain: Whether any content is right, also none after O_TRUNC, and half of it after
                the writer was killed.
        """
        self._spool = spool
        self._commit = commit
        self.is_plain = plain
        self._appends = bool(flags & os.O_APPEND)
        self._dirty = plain and bool(flags & os.O_TRUNC)
        self._failure: JaxfsError | None = None
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
        self._dirty, self.mtime_ns = True, None
        if self._appends:  # the kernel's offset may be the end of what another writer has
            return self._spool.append(data)
        return self._spool.write(offset, data)

    async def truncate(self, size: int) -> None:
        """Cuts or extends what was written."""
        self._dirty = self._dirty or size != self._spool.size
        self._spool.truncate(size)

    def is_dirty(self) -> bool:
        """Whether there is something new; nothing at all counts only where it is right."""
        return self._dirty and (self.is_plain or self._spool.size > 0)

    async def flush(self) -> None:
        """Commits what is new.

        Raises:
            JaxfsError: What the commit raised; if nothing was written since one that failed, that
                error again.
        """
        if self.is_dirty():
            self._dirty, self._failure = False, None
            try:
                await self._commit(self._spool)
            except JaxfsError as error:
                self._failure = error.recorded()
                raise
        elif self._failure is not None and not self._dirty:
            again = self._failure.recorded()
            again.is_logged = True
            raise again

    def pending_size(self) -> int | None:
        """Returns the number of bytes that were written, or were there before."""
        return self._spool.size

    def release(self) -> None:
        """Frees the bytes."""
        self._spool.close()
