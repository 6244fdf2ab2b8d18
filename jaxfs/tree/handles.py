"""Open files: what read, write, flush and release do on each kind."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

import trio

from jaxfs.arrays.producers import Source
from jaxfs.arrays.views import View
from jaxfs.calls.conversation import Conversation
from jaxfs.errors import Invalid, JaxfsError, NotPermitted, NotReady
from jaxfs.ipc.shared_memory import Segment
from jaxfs.ipc.spool import Spool
from jaxfs.posix.credentials import Caller
from jaxfs.types.buffers import Rope

Commit = Callable[[Spool], Awaitable[None]]


class Handle:
    """An open file.  The defaults refuse; kinds override what they can do.

    ``direct_io`` keeps the kernel's page cache out of it; ``keep_cache`` lets pages of an earlier
    open serve (only for content that never changes).
    """

    direct_io = True
    keep_cache = False
    path = ""  # for error_log; set when opened
    caller = Caller(0, 0)
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


class Snapshot(Handle):
    """Text as it was at open(2)."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def read(self, offset: int, size: int) -> bytes:
        return self._data[offset : offset + size]


class Status(Handle):
    """Text of an object whose changes can be polled for, as those of cgroup and sysfs files.

    A read at offset 0 takes a new snapshot, so who is woken seeks back and reads again, or uses
    pread(2).  ``changed`` gives the event of the object's next change.
    """

    def __init__(self, read: Callable[[], bytes], changed: Callable[[], trio.Event]) -> None:
        self._read = read
        self._changed = changed
        self._look()

    def _look(self) -> None:
        event = self._changed()
        self._event = None if event.is_set() else event  # else: its last change was before
        self._data = self._read()

    async def read(self, offset: int, size: int) -> bytes:
        if offset == 0:
            self._look()
        return self._data[offset : offset + size]

    def is_changed(self) -> bool:
        return self._event is not None and self._event.is_set()

    def next_change(self) -> trio.Event | None:
        return self._event


class Control(Snapshot):
    """A control file: reading gives the snapshot, closing after a write gives the whole text."""

    LIMIT_BYTES = 1 << 16

    def __init__(self, data: bytes, write: Callable[[str], Awaitable[None]]) -> None:
        super().__init__(data)
        self._write = write
        self._text = bytearray()
        self._dirty = False

    async def write(self, offset: int, data: bytes) -> int:
        if offset + len(data) > self.LIMIT_BYTES:
            raise Invalid(f"a control file takes at most {self.LIMIT_BYTES} bytes")
        self._text[len(self._text) :] = bytes(max(0, offset - len(self._text)))
        self._text[offset : offset + len(data)] = data
        self._dirty = True
        return len(data)

    async def truncate(self, size: int) -> None:
        del self._text[size:]

    async def flush(self) -> None:
        if not self._dirty:
            return
        self._dirty, text = False, bytes(self._text)
        self._text.clear()
        try:
            words = text.decode()
        except UnicodeDecodeError as error:
            raise Invalid(f"this is not UTF-8 text: {error}") from error
        await self._write(words)


class Upload(Handle):
    """A file that is written as a whole and committed by the flush after the last write.

    ``commit`` gets the bytes; what it raises is what close(2) returns.  A flush with nothing new
    does nothing: shells flush before they write.  A failed commit is told at each close until
    something new is written: numpy writes through a duplicate of the descriptor, and does not look
    what closing that one says.  A plain one is kept whatever it is: also emptied
    by O_TRUNC, also half written by a process that was killed.
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
        return self._spool.read(offset, size)

    async def write(self, offset: int, data: bytes) -> int:
        self._dirty, self.mtime_ns = True, None
        if self._appends:  # the kernel's offset may be the end of what another writer has
            return self._spool.append(data)
        return self._spool.write(offset, data)

    async def truncate(self, size: int) -> None:
        self._dirty = self._dirty or size != self._spool.size
        self._spool.truncate(size)

    def is_dirty(self) -> bool:
        return self._dirty and (self.is_plain or self._spool.size > 0)

    async def flush(self) -> None:
        if self.is_dirty():
            self._dirty, self._failure = False, None
            try:
                await self._commit(self._spool)
            except JaxfsError as error:
                self._failure = error
                raise
        elif self._failure is not None and not self._dirty:
            again = type(self._failure)(self._failure.reason, self._failure.diagnostics)
            again.is_logged = True
            raise again

    def pending_size(self) -> int | None:
        return self._spool.size

    def release(self) -> None:
        self._spool.close()


class Talk(Handle):
    """An open ``call``."""

    def __init__(self, conversation: Conversation, flags: int) -> None:
        self._conversation = conversation
        self._wait = not flags & os.O_NONBLOCK
        self._reads = flags & os.O_ACCMODE != os.O_WRONLY

    async def read(self, offset: int, size: int) -> bytes | memoryview:
        return await self._conversation.read(size, wait=self._wait)

    async def write(self, offset: int, data: bytes) -> int:
        return await self._conversation.write(data)

    def read_now(self, offset: int, size: int) -> bytes | None:
        return self._conversation.read_now(size)

    def write_now(self, offset: int, data: bytes) -> bool:
        return self._conversation.write_now(data)

    async def truncate(self, size: int) -> None:
        """``> call`` truncates; there is nothing to cut."""

    async def flush(self) -> None:
        if not self._reads:
            await self._conversation.flush()

    def release(self) -> None:
        self._conversation.close()

    def is_readable(self) -> bool:
        self._conversation.poll()
        return self._conversation.is_readable()

    def next_change(self) -> trio.Event | None:
        return self._conversation.next_arrival()


class Result(Handle):
    """A result that is there: served with its exact size through the page cache.

    It holds the result's memory: who has it open reads it to its end, removed or not.
    """

    direct_io = False
    keep_cache = True

    def __init__(self, source: Source, rope: Rope, held: Segment | None) -> None:
        self._source = source
        self._rope = rope
        self._held = held

    @classmethod
    async def of(cls, view: View) -> Result:
        """Raises the source's own error."""
        held = view.source.hold()
        try:
            return cls(view.source, await view.load(), held)
        except BaseException:
            if held is not None:
                held.release()
            raise

    async def read(self, offset: int, size: int) -> bytes | memoryview:
        return self._rope.read(offset, size)

    def fixed_size(self) -> int:
        return self._rope.nbytes

    def release(self) -> None:
        self._source.rest()
        self._rope = Rope()
        if self._held is not None:
            self._held.release()


class EarlyResult(Handle):
    """A result opened with O_NONBLOCK before it is there: read(2) says EAGAIN until then."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._result: Result | None = None

    async def read(self, offset: int, size: int) -> bytes | memoryview:
        if not self._view.source.has_ended:
            raise NotReady(f"{self._view.part.path} is not there yet")
        if self._result is None:
            result = await Result.of(self._view)
            if self._result is None:
                self._result = result
            else:  # another thread's read was first
                result.release()
        return await self._result.read(offset, size)

    def release(self) -> None:
        if self._result is not None:
            self._result.release()

    def is_readable(self) -> bool:
        return self._view.source.has_ended

    def next_change(self) -> trio.Event | None:
        return self._view.source.done
