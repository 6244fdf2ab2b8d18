"""A pool of shared memory that is used again.

The first write to a fresh page costs ten times the copy itself (64 MiB: 100-180 ms fresh, 12 ms on
pages already there), so segments are taken from a pool and given back to it.  The front owns every
segment; workers only map what they are sent, and may keep the mapping, because a segment's number
is never used for another one.  Seals keep workers from making a segment shorter: reading past its
end would be SIGBUS here.

>>> pool = Pool()
>>> with pool.take(5) as segment:
...     segment.write(0, b"hello")
...     segment.read(1, 3)
b'ell'
>>> pool.used_bytes, pool.free_bytes == segment.capacity
(0, True)
"""

from __future__ import annotations

import fcntl
import itertools
import mmap
import os
from collections import defaultdict
from collections.abc import Callable
from types import TracebackType

import msgspec

from jaxfs.types.memory_layout import ALIGNMENT

PAGE_BYTES = mmap.PAGESIZE
SLAB_BYTES = 1 << 17  # a segment that small ranges share
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


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

    def __init__(self, pool: Pool, number: int, fd: int, capacity: int) -> None:
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

    def belongs_to(self, pool: Pool) -> bool:
        """Returns whether it was taken from this pool, so that the pool's engine may map it."""
        return self._pool is pool

    def reset(self) -> None:
        """Gives a pooled segment its first holder."""
        self._holders = 1

    def advise_unused(self) -> None:
        """Drops the pages from this process, which does not read them for now; see madvise(2)."""
        if self._map is not None:
            self._map.madvise(mmap.MADV_DONTNEED)

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
        os.close(self.fd)

    def __enter__(self) -> Segment:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


class Pool:
    """Segments by power-of-two capacity.

    Attributes:
        keep_bytes: The most of free segments that it keeps.
        free_bytes: How much it keeps now.
        has_device_cache: Whether the engine keeps named arrays on its devices.
    """

    def __init__(self, keep_bytes: int = 1 << 30) -> None:
        self.keep_bytes = keep_bytes
        self.free_bytes = 0
        self._taken_bytes = 0
        self._numbers = itertools.count(1)
        self._free: dict[int, list[Segment]] = defaultdict(list)
        self._retired: list[int] = []
        self._forgotten: list[int] = []
        self.has_device_cache = False
        self._ticks = 0
        self._slab: Segment | None = None  # what is cut into small ranges now
        self._slab_end = 0

    @property
    def used_bytes(self) -> int:
        """The capacity of all segments that are in use."""
        spare = self._slab is not None and not self._slab.is_shared
        return self._taken_bytes - (SLAB_BYTES if spare else 0)

    def take(self, nbytes: int) -> Segment:
        """Returns a segment of at least ``nbytes`` bytes.

        Its content is undefined, perhaps another user's: write it whole before it is read.

        Raises:
            OSError: The system has no more memory (ENOSPC) or descriptors (EMFILE).
        """
        capacity = max(PAGE_BYTES, 1 << (max(nbytes, 1) - 1).bit_length())
        if self._free[capacity]:
            segment = self._free[capacity].pop()
            self.free_bytes -= capacity
            segment.reset()
        else:
            segment = self._fresh(capacity)
        self._taken_bytes += capacity
        return segment

    def take_range(self, nbytes: int) -> tuple[Segment, int]:
        """Returns a retained segment and the aligned offset of ``nbytes`` bytes in it.

        Small ranges share a segment, which is given back when all of them are released: meant for
        memory that is soon released again.

        Raises:
            OSError: The system has no more memory (ENOSPC) or descriptors (EMFILE).
        """
        if nbytes > SLAB_BYTES // 8:
            return self.take(nbytes), 0
        if self._slab is None or self._slab_end + nbytes > self._slab.capacity:
            self._drop_slab()
            self._slab = self.take(SLAB_BYTES)
        offset = self._slab_end
        self._slab_end += -(-nbytes // ALIGNMENT) * ALIGNMENT
        return self._slab.retain(), offset

    def _drop_slab(self) -> None:
        if self._slab is not None:
            self._slab.release()
        self._slab, self._slab_end = None, 0

    def _fresh(self, capacity: int) -> Segment:
        fd = os.memfd_create("jaxfs", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(fd, capacity)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
        except OSError:
            os.close(fd)
            raise
        return Segment(self, next(self._numbers), fd, capacity)

    def give_back(self, segment: Segment) -> None:
        """Takes a segment back; called by its last release."""
        self._taken_bytes -= segment.capacity
        if segment.on_return is not None:
            segment.on_return()
            segment.on_return = None
        segment.advise_unused()
        segment.idle_since = self._ticks
        if self.free_bytes + segment.capacity <= self.keep_bytes:
            self.free_bytes += segment.capacity
            self._free[segment.capacity].append(segment)
        else:
            self._retire(segment)

    def _retire(self, segment: Segment) -> None:
        self._retired.append(segment.number)
        segment.close()

    def trim(self) -> None:
        """Frees what was not used since the last but one call; call it every few seconds."""
        self._ticks += 1
        if self._slab is not None and not self._slab.is_shared:
            self._drop_slab()
        for capacity, segments in self._free.items():
            old = [segment for segment in segments if segment.idle_since < self._ticks - 1]
            self._free[capacity] = [segment for segment in segments if segment not in old]
            self.free_bytes -= capacity * len(old)
            for segment in old:
                self._retire(segment)

    def take_retired(self) -> list[int]:
        """Returns the numbers of segments that were freed since the last call.

        The worker unmaps them; its mapping keeps their pages allocated until then.
        """
        retired, self._retired = self._retired, []
        return retired

    def forget(self, producer: int) -> None:
        """Notes that the arrays of a producer have no name any more.

        A worker without a device cache has nothing to drop, and is not sent them.
        """
        if self.has_device_cache:
            self._forgotten.append(producer)

    def take_forgotten(self) -> list[int]:
        """Returns the producers forgotten since the last call.

        The worker drops their arrays from its device cache.
        """
        forgotten, self._forgotten = self._forgotten, []
        return forgotten

    def close(self) -> None:
        """Frees what is not in use."""
        self._drop_slab()
        for segments in self._free.values():
            for segment in segments:
                segment.close()
        self._free.clear()
        self.free_bytes = 0
