"""Control files: text, whole at each open, parsed when it is written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from jaxfs.errors import Invalid
from jaxfs.vfs.open_files.base import Handle


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
