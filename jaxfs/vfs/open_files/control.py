"""Control files: text, read as a snapshot and written as a whole."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from jaxfs.errors import Invalid
from jaxfs.programs.commits import Work
from jaxfs.vfs.open_files.base import OpenFile


class SnapshotFile(OpenFile):
    """Text as it was at open(2)."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.held_bytes = len(data)

    async def read(self, offset: int, size: int) -> bytes:
        """Returns a part of the snapshot."""
        return self._data[offset : offset + size]


class StatusFile(OpenFile):
    """Text of an object that can be polled for changes, as the files of cgroup and sysfs can.

    A read at offset 0 takes a new snapshot.  After poll(2) has reported a change, a program seeks
    to 0 and reads again, or uses pread(2).
    """

    def __init__(self, read: Callable[[], bytes], changed: Callable[[], trio.Event]) -> None:
        """Takes the first snapshot.

        Args:
            read: Returns the text.
            changed: Returns the event of the object's next change.
        """
        self._read = read
        self._changed = changed
        self._take_snapshot()
        self.held_bytes = len(self._data)

    def _take_snapshot(self) -> None:
        """Reads the text.

        The event is taken first, so that no change between the two is missed.
        """
        event = self._changed()
        self._event = None if event.is_set() else event  # set: there are no more changes
        self._data = self._read()

    async def read(self, offset: int, size: int) -> bytes:
        """Returns a part of the snapshot; at offset 0, of a new one.

        A text that is read in pieces thus never is a mixture of two.
        """
        if offset == 0:
            self._take_snapshot()
        return self._data[offset : offset + size]

    def is_changed(self) -> bool:
        """Whether the object has changed since the snapshot."""
        return self._event is not None and self._event.is_set()

    def next_change(self) -> trio.Event | None:
        """Returns the event of the first change after the snapshot."""
        return self._event


class ControlFile(OpenFile):
    """A control file that is written: the flush after a write parses the whole text."""

    LIMIT_BYTES = 1 << 16
    is_plain = False  # half a text may mean something else
    held_bytes = LIMIT_BYTES

    def __init__(
        self,
        write: Callable[[str], Awaitable[None]],
        *,
        appends: bool = False,
        kept: Callable[[], bytes] | None = None,
    ) -> None:
        """Starts with no text.

        Args:
            write: Carries out the text; what it raises is the error of close(2).
            appends: Whether it was opened with O_APPEND.
            kept: Returns the text that is there, where a text that is added continues it; None
                where each text stands for itself.
        """
        self._write = write
        self._appends = appends
        self._kept = kept
        self._text = bytearray()
        self._start = 0  # the file offset of the text
        self._dirty = False

    async def read(self, offset: int, size: int) -> bytes:
        """Returns nothing: the text is read through a descriptor that is not for writing."""
        return b""

    async def write(self, offset: int, data: bytes) -> int:
        """Takes a piece of the text.

        Raises:
            Invalid: The text would be longer than `LIMIT_BYTES`.
        """
        if not self._dirty:
            self._begin(offset)
        offset = len(self._text) if self._appends else max(0, offset - self._start)
        if offset + len(data) > self.LIMIT_BYTES:
            raise Invalid(f"a control file takes at most {self.LIMIT_BYTES} bytes")
        self._text[len(self._text) :] = bytes(max(0, offset - len(self._text)))
        self._text[offset : offset + len(data)] = data
        self._dirty, self.commit, self.is_half_written = True, None, False
        return len(data)

    def _begin(self, offset: int) -> None:
        """Begins a text: the first one, or one after another that was carried out.

        Several processes may write to one descriptor, as in ``{ /bin/echo a; /bin/echo b; } > f``:
        each closes it, and the next one writes at the end of what it has left.
        """
        continues = self._appends or 0 < len(self._text) <= offset
        if continues and self._kept is not None:
            self._text[:] = self._kept() if self._appends else self._text
            return
        self._text.clear()
        self._start = offset if continues else 0

    async def truncate(self, size: int) -> None:
        """Drops the text from `size` on."""
        del self._text[size:]

    def is_dirty(self) -> bool:
        """Whether something was written since the last flush."""
        return self._dirty

    def take_commit(self) -> Work | None:
        """Takes the text, which is carried out once for each time that something was written."""
        if not self._dirty:
            return None
        self._dirty, data = False, bytes(self._text)

        async def work() -> None:
            if b"\0" in data:
                raise Invalid("there are zero bytes in the text; write it as a whole")
            try:
                text = data.decode()
            except UnicodeDecodeError as error:
                raise Invalid(f"this is not UTF-8 text: {error}") from error
            await self._write(text)

        return work
