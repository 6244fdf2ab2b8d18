"""Shared memory that is used again.

The first write to a fresh page costs ten times the copy itself (64 MiB: 100-180 ms fresh, 12 ms on
pages already there), so segments come from a pool and go back to it.  The front owns every segment;
workers only map what they are sent, and may keep the mapping, because a segment's number is never
used for another one.  They cannot make it shorter: reading past its end would be SIGBUS here.
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
    """A range of a segment, as it is told to another process.

    ``value`` numbers the array that stands there, if it has a name: the same number, the same
    array, wherever it stands.
    """

    segment: int
    offset: int
    nbytes: int
    value: int = 0


class Segment:
    """One memfd: a number, a descriptor, a capacity in bytes, and reads and writes at offsets.

    Reference counted: ``retain`` for each further holder, ``release`` when done; the last release
    gives it back to its pool.
    """

    def __init__(self, pool: Pool, number: int, fd: int, capacity: int) -> None:
        self.number = number
        self.fd = fd
        self.capacity = capacity
        self._pool = pool
        self._holders = 1
        self._map: mmap.mmap | None = None
        self.idle_since = 0  # the pool's tick
        self.on_return: Callable[[], None] | None = None  # called once, by the last release

    def retain(self) -> Segment:
        """Another holder."""
        self._holders += 1
        return self

    def release(self) -> None:
        """One holder less; the last one gives the memory back."""
        self._holders -= 1
        if self._holders == 0:
            self._pool.give_back(self)

    @property
    def is_shared(self) -> bool:
        """Whether it has more than one holder."""
        return self._holders > 1

    def belongs_to(self, pool: Pool) -> bool:
        """Whether the engine of this pool may be sent it."""
        return self._pool is pool

    def reset(self) -> None:
        """Make a pooled segment anybody's again."""
        self._holders = 1

    def advise_unused(self) -> None:
        """Nobody looks at the bytes for now: this process's memory need not count them."""
        if self._map is not None:
            self._map.madvise(mmap.MADV_DONTNEED)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Copy ``data`` in at ``offset``; pwrite touches no page tables, unlike a mapping."""
        view = memoryview(data)
        while view:
            done = os.pwrite(self.fd, view, offset)
            view, offset = view[done:], offset + done

    def view(self, offset: int = 0, nbytes: int | None = None) -> memoryview:
        """A read-only window without a copy; valid while the segment is held."""
        if self._map is None:
            self._map = mmap.mmap(self.fd, self.capacity, prot=mmap.PROT_READ)
        end = self.capacity if nbytes is None else offset + nbytes
        return memoryview(self._map)[offset:end]

    def read(self, offset: int, nbytes: int) -> bytes:
        """A copy of a range."""
        return os.pread(self.fd, nbytes, offset)

    def ref(self, offset: int, nbytes: int, value: int = 0) -> SegmentRef:
        """How to tell another process of a range."""
        return SegmentRef(self.number, offset, nbytes, value)

    def close(self) -> None:
        """Free the pages.  Windows still in use keep them until they are gone."""
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
    """Segments by power-of-two capacity; keeps up to ``keep_bytes`` of free ones warm."""

    def __init__(self, keep_bytes: int = 1 << 30) -> None:
        self.keep_bytes = keep_bytes
        self.free_bytes = 0
        self._taken_bytes = 0
        self._numbers = itertools.count(1)
        self._free: dict[int, list[Segment]] = defaultdict(list)
        self._retired: list[int] = []
        self._forgotten: list[int] = []
        self.has_device_cache = False  # whether the engine keeps arrays on its devices
        self._ticks = 0
        self._slab: Segment | None = None  # what is cut into small ranges now
        self._slab_end = 0

    @property
    def used_bytes(self) -> int:
        """Capacity of the segments that somebody holds."""
        spare = self._slab is not None and not self._slab.is_shared
        return self._taken_bytes - (SLAB_BYTES if spare else 0)

    def take(self, nbytes: int) -> Segment:
        """A segment of at least ``nbytes`` bytes.  Its content is undefined: write it whole.

        Raises OSError (ENOSPC, EMFILE) when the system has no more.
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
        """A held segment and the aligned offset of ``nbytes`` bytes in it.

        Small ranges share a segment, which is given back when all of them are released: meant for
        memory that is soon released again.  Raises as ``take``.
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
        """Called by the last release."""
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
        """Free what nobody used since the last but one call; called now and then."""
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
        """Numbers of segments that are gone since the last call, for workers to unmap."""
        retired, self._retired = self._retired, []
        return retired

    def forget(self, source: int) -> None:
        """Nobody has a name any more for the arrays of a source."""
        if self.has_device_cache:
            self._forgotten.append(source)

    def take_forgotten(self) -> list[int]:
        """The sources forgotten since the last call."""
        forgotten, self._forgotten = self._forgotten, []
        return forgotten

    def close(self) -> None:
        """Free what is not in use."""
        self._drop_slab()
        for segments in self._free.values():
            for segment in segments:
                segment.close()
        self._free.clear()
        self.free_bytes = 0
