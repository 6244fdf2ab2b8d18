"""Pieces of shared memory: whole memfds, and ranges of memfds that others share."""

from __future__ import annotations

import _thread
import contextlib
import mmap
import os
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

import msgspec

from jaxfs.posix.syscalls import punch_hole

_SLOW_BYTES = 16 << 20  # to free, or to unmap, the pages of a larger segment takes over 1 ms
_STEP_BYTES = 4 << 20  # unmapped at once: madvise(2) of Python keeps the interpreter
NEVER_USED = -1  # ``idle_since`` of a range without pages


class SegmentPool(Protocol):
    """What segments are given back to."""

    def give_back(self, segment: Segment, /) -> None:
        """Takes a segment back; called by its last release."""


class SegmentRef(msgspec.Struct, frozen=True, array_like=True):
    """A range of a segment, as it is sent to another process.

    Attributes:
        segment: The segment's number.
        offset: In bytes.
        nbytes: The length.
        value: Numbers the array in it, if the array has a name: the same number is the same array,
            wherever it is.
    """

    segment: int
    offset: int
    nbytes: int
    value: int = 0


class Segment:
    """One memfd, reference counted: the last ``release`` gives it back to its pool.

    Attributes:
        number: Identifies it; never used again.
        fd: The memfd.
        capacity: In bytes, a power of two.
        idle_since: The pool's tick when it was given back.
        on_return: Called once, by the last release.
    """

    def __init__(self, pool: SegmentPool, number: int, fd: int, capacity: int) -> None:
        self.number = number
        self.fd = fd
        self.capacity = capacity
        self._pool = pool
        self._holders = 1
        self._map: mmap.mmap | None = None
        self.idle_since = 0
        self.on_return: Callable[[], None] | None = None

    def retain(self) -> Segment:
        """Adds a holder, and returns the segment.

        Each holder calls ``release`` once; the memory is not reused before.
        """
        self._holders += 1
        return self

    def release(self) -> None:
        """Removes a holder; the last one gives the memory back."""
        self._holders -= 1
        if self._holders == 0:
            self._pool.give_back(self)

    @property
    def is_shared(self) -> bool:
        """Whether it has more than one holder."""
        return self._holders > 1

    @property
    def usable_bytes(self) -> int:
        """How many bytes its holders may use."""
        return self.capacity

    def end_charge(self) -> None:
        """Calls ``on_return`` now, because the memory is charged to another account."""
        if self.on_return is not None:
            self.on_return()
            self.on_return = None

    def belongs_to(self, pool: SegmentPool) -> bool:
        """Returns whether it was taken from this pool, so that the pool's engine may map it."""
        return self._pool is pool

    def reset(self) -> None:
        """Gives a pooled segment its first holder."""
        self._holders = 1

    def free_pages(self, offset: int, nbytes: int) -> None:
        """Gives pages back to the system, also those that a worker has mapped; they read as zeros.

        It does nothing where the kernel cannot: the pages then stay until the segment is closed.
        """
        with contextlib.suppress(OSError):
            punch_hole(self.fd, offset, nbytes)

    def advise_unused(self) -> None:
        """Drops the pages from this process, which does not read them for now; see madvise(2)."""
        self.drop_pages(0, self.capacity)

    def drop_pages(self, offset: int, nbytes: int) -> None:
        """Drops a range of pages from this process; much of it in a thread, a bit later.

        256 MiB take 20 ms.  It does no harm where the range is in use again by then.
        """
        if self._map is None:
            return
        if nbytes <= _SLOW_BYTES:
            self._map.madvise(mmap.MADV_DONTNEED, offset, nbytes)
        else:
            _thread.start_new_thread(_drop_pages, (self._map, offset, nbytes))

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Copies ``data`` in at ``offset``, in bytes.

        It uses pwrite, which touches no page tables, unlike a mapping.

        Raises:
            OSError: The machine has no memory for the pages.
        """
        view = memoryview(data)
        while view:
            done = os.pwrite(self.fd, view, offset)
            view, offset = view[done:], offset + done

    def view(self, offset: int = 0, nbytes: int | None = None) -> memoryview:
        """Returns a read-only window without a copy; valid while the segment is retained.

        Args:
            offset: Where it begins, in bytes.
            nbytes: Its length; None for all bytes up to the capacity.
        """
        if self._map is None:
            self._map = mmap.mmap(self.fd, self.capacity, prot=mmap.PROT_READ)
        end = self.capacity if nbytes is None else offset + nbytes
        return memoryview(self._map)[offset:end]

    def read(self, offset: int, nbytes: int) -> bytes:
        """Returns a copy of ``nbytes`` bytes from ``offset`` on.

        It uses pread, which needs no mapping.
        """
        return os.pread(self.fd, nbytes, offset)

    def ref(self, offset: int, nbytes: int, value: int = 0) -> SegmentRef:
        """Returns a range as it is sent to another process."""
        return SegmentRef(self.number, offset, nbytes, value)

    def close(self) -> None:
        """Frees the pages.  Windows still in use keep them until they are gone."""
        self._map = None  # not .close(): a reply may still be reading from it
        if self.capacity <= _SLOW_BYTES:
            os.close(self.fd)
        else:  # not a threading.Thread: its start waits for the thread to run
            _thread.start_new_thread(os.close, (self.fd,))

    def __enter__(self) -> Segment:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def _drop_pages(mapping: mmap.mmap, offset: int, nbytes: int) -> None:
    end = offset + nbytes
    for start in range(offset, end, _STEP_BYTES):
        mapping.madvise(mmap.MADV_DONTNEED, start, min(_STEP_BYTES, end - start))


class Slot(Segment):
    """A range of a segment that others share, with holders of its own.

    It has the number, the descriptor and the capacity of the whole segment, and its users address
    it by offsets in that, from ``start`` on: so a worker maps the segment once for all of them.

    Attributes:
        start: Where the range begins in the segment, in bytes.
        nbytes: Its length.
    """

    def __init__(self, pool: SegmentPool, slab: Slab, start: int, nbytes: int) -> None:
        super().__init__(pool, slab.whole.number, slab.whole.fd, slab.whole.capacity)
        self.slab = slab
        self.start = start
        self.nbytes = nbytes

    @property
    def usable_bytes(self) -> int:
        """The length of the range."""
        return self.nbytes

    def advise_unused(self) -> None:
        """Drops the pages of the range from this process; see madvise(2)."""
        self.slab.whole.drop_pages(self.start, self.nbytes)

    def view(self, offset: int = 0, nbytes: int | None = None) -> memoryview:
        """Returns a window without a copy, in the mapping that all ranges share."""
        return self.slab.whole.view(offset, nbytes)


class Slab:
    """A segment that ranges of one size share.

    Attributes:
        whole: The segment.
        slot_bytes: The size of the ranges.
        free: Those that are not in use, the least recently used first.
    """

    def __init__(self, pool: SegmentPool, whole: Segment, slot_bytes: int) -> None:
        self.whole = whole
        self.slot_bytes = slot_bytes
        starts = range(0, whole.capacity, slot_bytes)
        self.free = deque(Slot(pool, self, start, slot_bytes) for start in starts)
        for slot in self.free:
            slot.idle_since = NEVER_USED

    @property
    def is_unused(self) -> bool:
        """Whether none of its ranges is in use."""
        return len(self.free) * self.slot_bytes == self.whole.capacity

    def free_idle_pages(self, before: int) -> None:
        """Gives the pages of ranges back that were released before a tick of the pool."""
        for slot in self.free:
            if 0 <= slot.idle_since < before:
                slot.free_pages(slot.start, slot.nbytes)
                slot.idle_since = NEVER_USED
