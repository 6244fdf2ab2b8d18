"""The front's segments in the worker's address space: mapped once, used by every run.

They are mapped by the run that first needs them.  mmap(2) waits for page faults of other threads,
seconds where these make large results, and one thread reads the messages of all users.
"""

from __future__ import annotations

import mmap
import os
import threading

import numpy as np
from numpy.typing import NDArray

from jaxfs.ipc.shared_memory import SegmentRef

PIECE_BYTES = 8 << 20


class _Unmapped:
    """A segment that no run has used yet."""

    def __init__(self, fd: int, capacity: int) -> None:
        self.lock = threading.Lock()
        self.fd = fd
        self.capacity = capacity

    def __del__(self) -> None:
        os.close(self.fd)


class Mappings:
    """Mapped segments by number.

    A mapping lives as long as an array on it, so ``detach`` never takes memory away from a run.
    """

    def __init__(self) -> None:
        self._maps: dict[int, mmap.mmap | _Unmapped] = {}

    def attach(self, segment: int, capacity: int, fd: int) -> None:
        """Adds a segment, which the first run that uses it maps.

        Args:
            segment: The number by which messages name it.
            capacity: Its length in bytes.
            fd: The descriptor of its memory; the caller must not use it any more.
        """
        self._maps[segment] = _Unmapped(fd, capacity)

    def _memory(self, segment: int) -> mmap.mmap:
        """Returns a segment's memory.

        Raises:
            OSError: The mapping was refused.
        """
        found = self._maps[segment]
        if isinstance(found, mmap.mmap):
            return found
        with found.lock:
            mapped = self._maps[segment]
            if isinstance(mapped, _Unmapped):
                mapped = self._maps[segment] = mmap.mmap(found.fd, found.capacity)
        return mapped

    def detach(self, segment: int) -> None:
        """Forgets a segment.

        To give 512 MiB back takes a tenth of a second, so that another thread does it: this one
        reads the messages of all users.
        """
        memory = self._maps.pop(segment, None)
        if isinstance(memory, mmap.mmap) and len(memory) > PIECE_BYTES:
            threading.Thread(target=_unmap, args=([memory],), name="unmap", daemon=True).start()

    def array(
        self, ref: SegmentRef | bytes, dtype: np.dtype[np.generic], shape: tuple[int, ...]
    ) -> NDArray[np.generic]:
        """Returns an array over the memory itself, without a copy.

        JAX's CPU backend uses the memory as it is if the array starts at a 64-byte boundary.
        """
        if isinstance(ref, bytes):
            return np.ndarray(shape, dtype, ref)
        return np.ndarray(shape, dtype, self._memory(ref.segment), ref.offset)

    def slot(
        self,
        output: SegmentRef,
        offset: int,
        dtype: np.dtype[np.generic],
        shape: tuple[int, ...],
    ) -> NDArray[np.generic]:
        """Returns a writable array at ``offset`` bytes of an output range."""
        return np.ndarray(shape, dtype, self._memory(output.segment), output.offset + offset)


def _unmap(last: list[mmap.mmap]) -> None:
    """Unmaps memory, of which ``last`` has the last reference but for those of runs.

    It drops the pages in pieces before.  At once, munmap(2) would keep other threads from mapping
    meanwhile, and madvise() keeps Python's lock.
    """
    memory = last.pop()
    for start in range(0, len(memory), PIECE_BYTES):
        memory.madvise(mmap.MADV_DONTNEED, start, min(PIECE_BYTES, len(memory) - start))
