"""A file that is being written: bytes at any offsets, in any number of writes.

Small uploads stay in the process; larger ones are written to shared memory, from which the engine
and the compiler take them without another copy.
"""

from __future__ import annotations

from collections.abc import Callable

from jaxfs.errors import TooBig
from jaxfs.ipc.channel import INLINE_BYTES
from jaxfs.ipc.shared_memory import Pool, Segment

_ZEROS = bytes(1 << 16)
Charge = Callable[[int], Callable[[], None]]  # charges a user for bytes, returns the refund


class Spool:
    """A growing byte array with a size limit.

    Args:
        pool: Shared memory for more than ``INLINE_BYTES``.
        limit_bytes: More raises TooBig.
        hint_bytes: How much is expected: so much is taken at once, instead of by doubling.
        charge: Called before shared memory is taken; may raise OverQuota.  What it returns is
            called when the last holder of that memory, an input of a run perhaps, releases it.

    Attributes:
        size: In bytes.

    >>> spool = Spool(Pool(), limit_bytes=100)
    >>> spool.write(3, b"abc")
    3
    >>> list(spool.view())
    [0, 0, 0, 97, 98, 99]
    """

    def __init__(
        self,
        pool: Pool,
        limit_bytes: int,
        hint_bytes: int = 0,
        charge: Charge | None = None,
    ) -> None:
        self._pool = pool
        self._limit = limit_bytes
        self._hint = hint_bytes
        self._charge = charge
        self._small = bytearray()
        self._segment: Segment | None = None
        self.size = 0

    @property
    def segment(self) -> Segment | None:
        """The shared memory the bytes are in, if they are not few."""
        return self._segment

    def write(self, offset: int, data: bytes) -> int:
        """Stores ``data`` at ``offset`` and returns its length; a gap before it reads as zeros."""
        end = offset + len(data)
        self._make_room(end)
        if offset > self.size:
            self._fill(self.size, offset)
        self._put(offset, data)
        self.size = max(self.size, end)
        return len(data)

    def append(self, data: bytes) -> int:
        """Stores ``data`` at the end and returns its length."""
        return self.write(self.size, data)

    def share(self) -> Spool:
        """Returns another spool of the same bytes: the first of both that is written copies them.

        It is how a commit keeps what it began with while the file is written again.
        """
        twin = Spool(self._pool, self._limit, self._hint, self._charge)
        twin._small, twin.size = bytearray(self._small), self.size
        twin._segment = self._segment.retain() if self._segment is not None else None
        return twin

    def truncate(self, size: int) -> None:
        """Cuts the end off, or extends it with zeros."""
        if size > self.size:
            self._make_room(size)
            self._fill(self.size, size)
        elif self._segment is None:
            del self._small[size:]
        self.size = size

    def view(self) -> memoryview:
        """Returns all bytes, read-only.

        They are not copied if they are in shared memory; such a view is valid until the spool
        moves or closes.
        """
        if self._segment is None:
            return memoryview(bytes(self._small))
        return self._segment.view(0, self.size)

    def read(self, offset: int, nbytes: int) -> bytes:
        """Returns a copy of a range, less at the end.

        Returns:
            At most ``nbytes`` bytes; none if ``offset`` is at the end or after it.
        """
        nbytes = max(0, min(nbytes, self.size - offset))
        if self._segment is None:
            return bytes(self._small[offset : offset + nbytes])
        return self._segment.read(offset, nbytes)

    def close(self) -> None:
        """Releases the memory."""
        if self._segment is not None:
            self._segment.release()
            self._segment = None
        self._small = bytearray()
        self.size = 0

    def _make_room(self, end: int) -> None:
        if end > self._limit:
            raise TooBig(f"{end} bytes are over the limit of {self._limit} (-o max_write_bytes)")
        if self._segment is None and end <= INLINE_BYTES:
            return
        if self._segment is None or end > self._segment.capacity or self._segment.is_shared:
            self._move(self._take(max(end, self.size, self._hint)))

    def _take(self, nbytes: int) -> Segment:
        refund = self._charge(nbytes) if self._charge is not None else None
        try:
            segment = self._pool.take(nbytes)
        except OSError:
            if refund is not None:
                refund()
            raise
        segment.on_return = refund
        return segment

    def _move(self, larger: Segment) -> None:
        """Copies the bytes to a larger segment, and releases the segment that had them."""
        if self.size:
            larger.write(0, self.view())
        if self._segment is not None:
            self._segment.release()
        self._segment, self._small = larger, bytearray()

    def _put(self, offset: int, data: bytes | memoryview) -> None:
        if self._segment is not None:
            self._segment.write(offset, data)
        else:
            self._small[offset : offset + len(data)] = data

    def _fill(self, start: int, end: int) -> None:
        while start < end:  # pooled memory has the bytes of its last use
            zeros = _ZEROS[: end - start]
            self._put(start, zeros)
            start += len(zeros)
