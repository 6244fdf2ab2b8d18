"""The front's segments as the engine sees them: mapped once, used by every run."""

from __future__ import annotations

import mmap
import os
from typing import Any

import numpy as np

from jaxfs.ipc.shared_memory import SegmentRef


class Mappings:
    """Mapped segments by number.

    A mapping lives as long as an array on it, so ``detach`` never pulls memory from under a run.
    """

    def __init__(self) -> None:
        self._maps: dict[int, mmap.mmap] = {}

    def attach(self, segment: int, capacity: int, fd: int) -> None:
        """Map a segment and close its descriptor."""
        try:
            self._maps[segment] = mmap.mmap(fd, capacity)
        finally:
            os.close(fd)

    def detach(self, segment: int) -> None:
        """Forget a segment."""
        self._maps.pop(segment, None)

    def array(self, source: SegmentRef | bytes, dtype: Any, shape: tuple[int, ...]) -> Any:
        """An array over the memory itself, without a copy.

        JAX's CPU backend takes it as it is where it starts at a 64-byte boundary.
        """
        if isinstance(source, bytes):
            return np.ndarray(shape, dtype, source)
        return np.ndarray(shape, dtype, self._maps[source.segment], source.offset)

    def slot(self, output: SegmentRef, offset: int, dtype: Any, shape: tuple[int, ...]) -> Any:
        """A writable array at ``offset`` of an output range."""
        return np.ndarray(shape, dtype, self._maps[output.segment], output.offset + offset)
