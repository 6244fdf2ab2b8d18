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

Each segment costs a descriptor, of which the process has few: small ranges share segments, see
``Pool.take_range``.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import mmap
import os
from collections import defaultdict

import attrs

from jaxfs.ipc.segment import Segment, SegmentRef, Slab, Slot
from jaxfs.quotas import SHARED_BYTES
from jaxfs.types.memory_layout import ALIGNMENT

__all__ = ["PAGE_BYTES", "MappedSegments", "Pool", "Segment", "SegmentRef"]

PAGE_BYTES = mmap.PAGESIZE
SLAB_BYTES = 1 << 17  # a segment that short-lived ranges share
SHARED_SLAB_BYTES = 8 << 20  # a segment that they share, or MIN_SLOTS of the larger ones
MIN_SLOTS = 32  # so that 10 GiB of ranges of 1 MiB, which no user is charged for, take 320
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


@attrs.define(eq=False)
class MappedSegments:
    """What one worker has of a pool, and has to give up.

    Attributes:
        segments: The numbers of the segments that it has mapped.
        retired: Those of them that were freed: its mapping keeps their pages allocated.
        forgotten: The producers of arrays in its device cache that have no name any more.
    """

    segments: set[int] = attrs.field(factory=set)
    retired: list[int] = attrs.field(factory=list)
    forgotten: list[int] = attrs.field(factory=list)

    def detached(self) -> None:
        """Notes that the worker has been sent all that it has to give up."""
        self.segments.difference_update(self.retired)
        self.retired, self.forgotten = [], []


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
        self._workers: list[MappedSegments] = []
        self.has_device_cache = False
        self._ticks = 0
        self._slabs: dict[int, list[Slab]] = defaultdict(list)  # with free slots, by their size
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

        Ranges of up to ``SHARED_BYTES`` share segments.  Those up to 16 KiB follow one another in a
        segment which is given back when all of them are released: meant for memory that is soon
        released again.  Larger ones are each used again when they are released, so that one
        that lives on keeps only its own pages: they are whole pages, which some aarch64 kernels
        have of 64 KiB.

        Raises:
            OSError: The system has no more memory (ENOSPC) or descriptors (EMFILE).
        """
        if nbytes > SHARED_BYTES:
            return self.take(nbytes), 0
        if nbytes > SLAB_BYTES // 8:
            slot = self._take_slot(max(PAGE_BYTES, 1 << (nbytes - 1).bit_length()))
            return slot, slot.start
        if self._slab is None or self._slab_end + nbytes > self._slab.capacity:
            self._drop_slab()
            self._slab = self.take(SLAB_BYTES)
        offset = self._slab_end
        self._slab_end += -(-nbytes // ALIGNMENT) * ALIGNMENT
        return self._slab.retain(), offset

    def _take_slot(self, slot_bytes: int) -> Slot:
        slabs = self._slabs[slot_bytes]
        if not slabs:
            whole = self.take(max(SHARED_SLAB_BYTES, MIN_SLOTS * slot_bytes))
            self._taken_bytes -= whole.capacity  # its ranges count one by one
            slabs.append(Slab(self, whole, slot_bytes))
        slot = slabs[-1].free.pop()  # the most recently used: its pages are there
        if not slabs[-1].free:
            slabs.pop()
        slot.reset()
        self._taken_bytes += slot_bytes
        return slot

    def _give_back_slot(self, slot: Slot) -> None:
        slab, slabs = slot.slab, self._slabs[slot.nbytes]
        self._taken_bytes -= slot.nbytes
        slot.advise_unused()
        slot.idle_since = self._ticks
        slab.free.append(slot)
        if len(slab.free) == 1:
            slabs.insert(0, slab)
        elif slab.is_unused and len(slabs) > 1:
            slabs.remove(slab)
            self._give_back_slab(slab)

    def _give_back_slab(self, slab: Slab) -> None:
        self._taken_bytes += slab.whole.capacity  # as ``take`` had counted it
        slab.whole.release()

    def _drop_slab(self) -> None:
        if self._slab is not None:
            self._slab.release()
        self._slab, self._slab_end = None, 0

    def _fresh(self, capacity: int) -> Segment:
        """Returns a new segment; frees the pooled ones where their descriptors are needed."""
        try:
            fd = _new_memfd()
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            self.drop_free()
            fd = _new_memfd()
        try:
            os.ftruncate(fd, capacity)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
        except OSError:
            os.close(fd)
            raise
        return Segment(self, next(self._numbers), fd, capacity)

    def give_back(self, segment: Segment) -> None:
        """Takes a segment back; called by its last release."""
        segment.end_charge()
        if isinstance(segment, Slot):
            self._give_back_slot(segment)
            return
        self._taken_bytes -= segment.capacity
        segment.advise_unused()
        segment.idle_since = self._ticks
        if self.free_bytes + segment.capacity <= self.keep_bytes:
            self.free_bytes += segment.capacity
            self._free[segment.capacity].append(segment)
        else:
            self._retire(segment)

    def _retire(self, segment: Segment) -> None:
        for worker in self._workers:
            if segment.number in worker.segments:
                worker.retired.append(segment.number)
        segment.close()

    def trim(self) -> None:
        """Frees what was not used since the last but one call; call it every few seconds."""
        self._ticks += 1
        if self._slab is not None and not self._slab.is_shared:
            self._drop_slab()
        for slabs in self._slabs.values():
            for slab in tuple(slabs):
                if slab.is_unused:
                    slabs.remove(slab)
                    self._give_back_slab(slab)
                else:
                    slab.free_idle_pages(self._ticks - 1)
        for capacity, segments in self._free.items():
            old = [segment for segment in segments if segment.idle_since < self._ticks - 1]
            self._free[capacity] = [segment for segment in segments if segment not in old]
            self.free_bytes -= capacity * len(old)
            for segment in old:
                self._retire(segment)

    def drop_free(self) -> None:
        """Frees all that is not in use, with the descriptors."""
        for slabs in self._slabs.values():
            for slab in [slab for slab in slabs if slab.is_unused]:
                slabs.remove(slab)
                self._give_back_slab(slab)
        for segments in self._free.values():
            for segment in segments:
                self._retire(segment)
        self._free.clear()
        self.free_bytes = 0

    def add_worker(self) -> MappedSegments:
        """Returns what a new worker has of the pool, which is kept up to date from now on."""
        worker = MappedSegments()
        self._workers.append(worker)
        return worker

    def remove_worker(self, worker: MappedSegments) -> None:
        """Forgets a worker that ends; a second call does nothing."""
        if worker in self._workers:
            self._workers.remove(worker)

    def forget(self, producer: int) -> None:
        """Notes that the arrays of a producer have no name any more.

        A worker without a device cache has nothing to drop, and is not sent them.
        """
        if self.has_device_cache:
            for worker in self._workers:
                worker.forgotten.append(producer)

    def close(self) -> None:
        """Frees what is not in use."""
        self._drop_slab()
        self.drop_free()


def _new_memfd() -> int:
    return os.memfd_create("jaxfs", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
