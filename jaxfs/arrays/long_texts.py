"""Text and images of large arrays: in shared memory, which the user who reads them is charged for.

Text is three to ten times as long as the array, and its length is not known beforehand.  So it is
made in a thread, piece by piece, into segments that are charged one after another.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator

import attrs
import trio

from jaxfs.arrays.codec_threads import run_codec
from jaxfs.codecs import formats
from jaxfs.errors import from_os_error
from jaxfs.ipc.shared_memory import Pool, Segment
from jaxfs.types.buffers import Parameter, Rope, TypedBuffer

ALWAYS_SLICED = frozenset({"npy", "raw"})  # encoding these copies no element
LOOP_ELEMENTS = 1 << 9  # more than these are made into text in a thread
SIZED_ELEMENTS = 1 << 12  # more than these are not made into text to find its size
LOOP_BYTES = 1 << 18  # more than these are packed in a thread
_FIRST_BYTES = 1 << 16
_LARGEST_BYTES = 1 << 26


@attrs.frozen
class TextMemory:
    """Where the text that a user reads is kept.

    Attributes:
        uid: The user.
        pool: Gives the memory.
        charge: Charges the user for bytes, and returns the refund; may raise OverQuota.
    """

    uid: int
    pool: Pool
    charge: Callable[[int], Callable[[], None]]


class LongText:
    """A text in segments; read like a ``Rope``, and released by its last reader.

    Attributes:
        nbytes: Its length.
    """

    def __init__(self, memory: TextMemory) -> None:
        self._memory = memory
        self._segments: list[tuple[Segment, int]] = []  # with where its part of the text begins
        self._starts: list[int] = []
        self._capacity = 0
        self.nbytes = 0

    @classmethod
    async def of(cls, pieces: Iterator[bytes], memory: TextMemory) -> LongText:
        """Returns the text that is made of pieces, which are made in a thread.

        Raises:
            OverQuota: The user would exceed its share.
            NoSpace: There is no memory.
        """
        text = cls(memory)
        try:
            await run_codec(memory.uid, lambda: text._fill(pieces))
        except OSError as error:
            text.release()
            raise from_os_error(error, "making the text") from error
        except BaseException:
            text.release()
            raise
        return text

    def _fill(self, pieces: Iterator[bytes]) -> None:
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                if self.nbytes == self._capacity:
                    trio.from_thread.run_sync(self._extend)
                some = rest[: self._capacity - self.nbytes]
                segment, first = self._segments[-1]
                segment.write(first + self.nbytes - self._starts[-1], some)
                self.nbytes += len(some)
                rest = rest[len(some) :]

    def _extend(self) -> None:
        """Adds a segment as long as all before it."""
        nbytes = min(max(self._capacity, _FIRST_BYTES), _LARGEST_BYTES)
        refund = self._memory.charge(nbytes)
        try:
            segment, first = self._memory.pool.take_range(nbytes)
        except OSError:
            refund()
            raise
        segment.on_return = refund
        self._segments.append((segment, first))
        self._starts.append(self._capacity)
        self._capacity += nbytes

    def read(self, offset: int, size: int) -> bytes:
        """Returns up to ``size`` bytes from ``offset``; fewer only at the end, as pread(2)."""
        end = min(offset + size, self.nbytes)
        found = list[bytes]()
        while offset < end:
            number = bisect_right(self._starts, offset) - 1
            stop = min([end, *self._starts[number + 1 : number + 2]])
            segment, first = self._segments[number]
            found.append(segment.read(first + offset - self._starts[number], stop - offset))
            offset = stop
        return found[0] if len(found) == 1 else b"".join(found)

    def release(self) -> None:
        """Frees the memory; a second call does nothing."""
        segments, self._segments = self._segments, []
        self.nbytes = 0
        for segment, _ in segments:
            segment.release()


Content = Rope | LongText


async def encode(
    format_name: str,
    params: tuple[Parameter, ...],
    buffers: list[TypedBuffer],
    memory: TextMemory,
) -> Content:
    """Returns arrays in a format: what is long in a thread, not to delay other requests.

    Args:
        format_name: The name of the format.
        params: The names and types of the arrays.
        buffers: The arrays.
        memory: For a long text.

    Raises:
        Invalid: The format cannot hold them.
        TooBig: They are too many for text.
        OverQuota: The user would exceed its share.
        NoSpace: There is no memory for the text.
    """
    if format_name in ALWAYS_SLICED:
        return formats.encode(format_name, params, buffers)
    if sum(buffer.aval.size for buffer in buffers) > LOOP_ELEMENTS:
        pieces = formats.pieces_of(format_name, params, buffers)
        if pieces is not None:
            return await LongText.of(pieces, memory)
    if sum(len(buffer.data) for buffer in buffers) > LOOP_BYTES:
        return await run_codec(memory.uid, lambda: formats.encode(format_name, params, buffers))
    return formats.encode(format_name, params, buffers)


def release(content: Content | None) -> None:
    """Frees a long text; a rope has no memory of its own."""
    if isinstance(content, LongText):
        content.release()
