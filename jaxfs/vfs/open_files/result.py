"""Results and arrays that are read."""

from __future__ import annotations

import trio

from jaxfs.arrays.long_texts import Content, TextMemory, release
from jaxfs.arrays.producers import Producer
from jaxfs.arrays.views import View
from jaxfs.errors import JaxfsError, NotReady
from jaxfs.ipc.shared_memory import Segment
from jaxfs.types.buffers import Rope
from jaxfs.vfs.open_files.base import OpenFile

PIECE_BYTES = 200  # what a piece of a rope takes besides its bytes


class ResultFile(OpenFile):
    """A result that is there: served with its exact size through the page cache.

    It retains the memory of the result, so that an open file can be read to its end after the
    result was removed.
    """

    direct_io = False
    keep_cache = True

    def __init__(self, producer: Producer, content: Content, retained: Segment | None) -> None:
        self._producer = producer
        self._content = content
        self._retained = retained
        if isinstance(content, Rope):
            self.held_bytes = content.own_bytes + PIECE_BYTES * len(content.pieces)

    @classmethod
    async def of(cls, view: View, memory: TextMemory) -> ResultFile:
        """Returns a file with the bytes of a view.

        Args:
            view: The view.
            memory: For a long text.

        Raises:
            JaxfsError: As `View.load`.
        """
        retained = view.producer.retain()
        try:
            return cls(view.producer, await view.load(memory), retained)
        except BaseException:
            if retained is not None:
                retained.release()
            raise

    async def read(self, offset: int, size: int) -> bytes | memoryview:
        """Returns bytes of the result."""
        return self._content.read(offset, size)

    def fixed_size(self) -> int:
        """Returns the size of the result."""
        return self._content.nbytes

    def release(self) -> None:
        """Releases the memory."""
        self._producer.advise_unused()
        release(self._content)
        self._content = Rope()
        if self._retained is not None:
            self._retained.release()


class PendingResultFile(OpenFile):
    """A result opened with O_NONBLOCK before it is there: reads fail with EAGAIN until then."""

    def __init__(self, view: View, memory: TextMemory, submitted: trio.Event | None = None) -> None:
        """Waits for nothing.

        Args:
            view: What is shown.
            memory: For a long text.
            submitted: Set when its inputs were read, if they are read now.
        """
        self._view = view
        self._memory = memory
        self._submitted = submitted
        self._result: ResultFile | None = None

    async def read(self, offset: int, size: int) -> bytes | memoryview:
        """Returns bytes of the result.

        Raises:
            NotReady: It is not there yet.
            JaxfsError: As `View.load`.
        """
        if not self.is_readable():
            raise NotReady("the result is not there yet")
        if self._result is None:
            result = await ResultFile.of(self._view, self._memory)
            if self._result is None:
                self._result = result
            else:  # another thread's read was first
                result.release()
        return await self._result.read(offset, size)

    def release(self) -> None:
        """Releases the memory, if anything was read."""
        if self._result is not None:
            self._result.release()

    def is_readable(self) -> bool:
        """Whether the result is there, or its error."""
        return self._awaited() is None

    def next_change(self) -> trio.Event | None:
        """Returns the event of the end of the call, or of its submission where that comes first."""
        return self._awaited()

    def _awaited(self) -> trio.Event | None:
        """Returns the next event that a reader waits for, or None if a read has an answer."""
        if self._submitted is not None and not self._submitted.is_set():
            return self._submitted
        try:
            producer = self._view.producer
        except JaxfsError:  # there is no such array, which a read reports
            return None
        return None if producer.has_ended or producer.is_rejected else producer.done
