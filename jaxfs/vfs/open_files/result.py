"""Results and arrays that are read."""

from __future__ import annotations

import trio

from jaxfs.arrays.producers import Producer
from jaxfs.arrays.views import View
from jaxfs.errors import NotReady
from jaxfs.ipc.shared_memory import Segment
from jaxfs.types.buffers import Rope
from jaxfs.vfs.open_files.base import Handle


class Result(Handle):
    """A result that is there: served with its exact size through the page cache.

    It holds the result's memory: who has it open reads it to its end, removed or not.
    """

    direct_io = False
    keep_cache = True

    def __init__(self, source: Producer, rope: Rope, held: Segment | None) -> None:
        self._source = source
        self._rope = rope
        self._held = held

    @classmethod
    async def of(cls, view: View) -> Result:
        """Raises the source's own error."""
        held = view.producer.retain()
        try:
            return cls(view.producer, await view.load(), held)
        except BaseException:
            if held is not None:
                held.release()
            raise

    async def read(self, offset: int, size: int) -> bytes | memoryview:
        return self._rope.read(offset, size)

    def fixed_size(self) -> int:
        return self._rope.nbytes

    def release(self) -> None:
        self._source.advise_unused()
        self._rope = Rope()
        if self._held is not None:
            self._held.release()


class EarlyResult(Handle):
    """A result opened with O_NONBLOCK before it is there: read(2) says EAGAIN until then."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._result: Result | None = None

    async def read(self, offset: int, size: int) -> bytes | memoryview:
        if not self._view.producer.has_ended:
            raise NotReady(f"{self._view.ref.path} is not there yet")
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
        return self._view.producer.has_ended

    def next_change(self) -> trio.Event | None:
        return self._view.producer.done
