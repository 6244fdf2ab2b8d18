"""A file that is being written: bytes at any offsets, in any number of writes.

Small uploads stay in the process; larger ones are written to shared memory, from which the engine
and the compiler take them without another copy.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from jaxfs.errors import Busy, OverQuota, TooBig
from jaxfs.ipc.channel import INLINE_BYTES
from jaxfs.ipc.shared_memory import Pool, Segment
from jaxfs.posix.syscalls import punch_hole
from jaxfs.quotas import SHARED_BYTES, MemoryCharge

STEP_BYTES = 2 << 20  # moved or filled at once: 3 ms where the pages are new
_ZEROS = bytes(1 << 16)
MAX_STEP_BYTES = 4 << 20  # that are charged at once
_log = logging.getLogger(__name__)


class Spool:
    """A growing byte array with a size limit.

    Args:
        pool: Shared memory for more than ``INLINE_BYTES``.
        limit_bytes: More raises TooBig.
        hint_bytes: How much is expected: so much is taken at once, instead of by doubling.
        charge: Charges a number of bytes to the writer, before they arise; writes raise OverQuota
            where it does.  The charge of shared memory ends when its last holder, an input of a run
            perhaps, releases it.

    Attributes:
        size: In bytes.
        start: Where the bytes begin in ``segment``.

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
        charge: Callable[[int], MemoryCharge] | None = None,
    ) -> None:
        self._pool = pool
        self._limit = limit_bytes
        self._hint = hint_bytes
        self._new_charge = charge
        self._charge: MemoryCharge | None = None
        self._charged_bytes = 0
        self._small = bytearray()
        self._segment: Segment | None = None
        self._writes = 0
        self.size = 0
        self.start = 0

    @property
    def segment(self) -> Segment | None:
        """The shared memory the bytes are in, if they are not few."""
        return self._segment

    def write(self, offset: int, data: bytes | memoryview) -> int:
        """Stores ``data`` at ``offset`` and returns its length; a gap before it reads as zeros."""
        end = offset + len(data)
        self._make_room(end)
        if offset > self.size:
            self._fill(self.size, offset)
        self._put(offset, data)
        self.size = max(self.size, end)
        return len(data)

    def append(self, data: bytes | memoryview) -> int:
        """Stores ``data`` at the end and returns its length."""
        return self.write(self.size, data)

    def share(self) -> Spool:
        """Returns another spool of the same bytes: the first of both that is written copies them.

        It is how a commit keeps what it began with while the file is written again.
        """
        twin = Spool(self._pool, self._limit, self._hint, self._new_charge)
        twin._small, twin.size, twin.start = bytearray(self._small), self.size, self.start
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

    def is_slow(self, offset: int, end: int) -> bool:
        """Returns whether a write there would copy or fill much at once."""
        moves = self.size > STEP_BYTES and not self._fits(end)
        return moves or self.size + STEP_BYTES < offset

    def prepare(self, offset: int, end: int) -> Iterator[None]:
        """Makes room up to ``end`` and zeros up to ``offset``, in steps of a few milliseconds.

        A write does both at once, which may take a second.  Between the steps the spool may be
        read, shared and closed; a write there costs another copy.

        Raises:
            TooBig: The file would be over its limit.
            OverQuota: The user would exceed its share.
        """
        self._check(end)
        if self.size and not self._fits(end):
            yield from self._move(end)
        if self.size + STEP_BYTES < offset:
            self._make_room(end)  # not only to ``offset``: the write would move the zeros
        while self.size + STEP_BYTES < offset:
            self.truncate(self.size + STEP_BYTES)
            yield

    def view(self) -> memoryview:
        """Returns all bytes, read-only.

        They are not copied if they are in shared memory; such a view is valid until the spool
        moves or closes.
        """
        if self._segment is None:
            return memoryview(bytes(self._small))
        return self._segment.view(self.start, self.size)

    def read(self, offset: int, nbytes: int) -> bytes:
        """Returns a copy of a range, less at the end.

        Returns:
            At most ``nbytes`` bytes; none if ``offset`` is at the end or after it.
        """
        nbytes = max(0, min(nbytes, self.size - offset))
        if self._segment is None:
            return bytes(self._small[offset : offset + nbytes])
        return self._segment.read(self.start + offset, nbytes)

    def close(self) -> None:
        """Releases the memory."""
        if self._segment is not None:
            self._segment.release()
            self._segment = None
        elif self._charge is not None:
            self._charge.refund()
        self._charge, self._charged_bytes = None, 0
        self._small = bytearray()
        self.size = 0

    def _check(self, end: int) -> None:
        if end > self._limit:
            raise TooBig(f"{end} bytes are over the limit of {self._limit} (-o max_write_bytes)")

    def _fits(self, end: int) -> bool:
        """Returns whether the memory that it has can be written up to ``end``.

        An array, a run or another spool may have what was written so far: that stays as it is.
        """
        if self._segment is None:
            return end <= INLINE_BYTES
        return end <= self._segment.usable_bytes and not self._segment.is_shared

    def _make_room(self, end: int) -> None:
        self._check(end)
        if not self._fits(end):
            for _ in self._move(end):
                pass
        elif end > self._charged_bytes:
            self._charge, self._charged_bytes = self._charged_up_to(self._charge, end)

    def _charged_up_to(
        self, charge: MemoryCharge | None, end: int
    ) -> tuple[MemoryCharge | None, int]:
        """Charges more bytes than those written so far, in steps that grow with the size.

        Returns:
            The charge, perhaps a new one, and the number of bytes.

        Raises:
            OverQuota: The writer would exceed its limit.
        """
        if self._new_charge is None:
            return None, 0
        charge = charge or self._new_charge(0)
        step = min(MAX_STEP_BYTES, 1 << max(10, (end - 1).bit_length() - 2))
        nbytes = min(self._limit, -(-end // step) * step)
        try:
            charge.resize(nbytes)
        except OverQuota:  # what is left may be less than a step
            charge.resize(nbytes := end)
        return charge, nbytes

    def _move(self, end: int) -> Iterator[None]:
        """Moves the bytes to other shared memory, of at least ``end`` bytes, in steps.

        Memory that is left keeps its charge until its last holder releases it.
        """
        old, end = self._segment, max(end, self.size)
        charge, nbytes = self._charged_up_to(self._charge if old is None else None, end)
        segment = None
        try:
            segment, start = self._take(max(end, self._hint), charge)
            writes = self._writes
            for done in range(0, self.size, STEP_BYTES):
                if done:
                    yield
                segment.write(start + done, self.view()[done : done + STEP_BYTES])
            self._check_unmoved(old)
            if self._writes != writes:  # another write came between the steps
                segment.write(start, self.view())
        except BaseException:  # also where the steps are given up
            if segment is not None:
                segment.release()
            if charge is not None and old is not None:
                charge.refund()
            raise
        if charge is not None:
            segment.on_return = charge.refund
        if old is not None:
            old.release()
        self._segment, self.start, self._small = segment, start, bytearray()
        self._charge, self._charged_bytes = charge, nbytes

    def _check_unmoved(self, old: Segment | None) -> None:
        if self._segment is not old:
            raise Busy("two writes of this file make room at once; write one after another")

    def _take(self, nbytes: int, charge: MemoryCharge | None) -> tuple[Segment, int]:
        if nbytes > SHARED_BYTES and charge is not None:
            charge.hold_descriptor()
        return self._pool.take_range(max(nbytes, INLINE_BYTES + 1))  # not of the short-lived ones

    def _put(self, offset: int, data: bytes | memoryview) -> None:
        self._writes += 1
        if self._segment is not None:
            self._segment.write(self.start + offset, data)
        else:
            self._small[offset : offset + len(data)] = data

    def _fill(self, start: int, end: int) -> None:
        """Makes a range read as zeros: pooled memory has the bytes of its last use."""
        if self._segment is None or not self._punch(self._segment, start, end):
            while start < end:
                zeros = _ZEROS[: end - start]
                self._put(start, zeros)
                start += len(zeros)

    def _punch(self, segment: Segment, start: int, end: int) -> bool:
        """Frees the pages of a range, and returns whether the kernel can."""
        try:
            punch_hole(segment.fd, self.start + start, end - start)
        except OSError as error:
            _log.debug("writing zeros instead: %s", error)
            return False
        return True
