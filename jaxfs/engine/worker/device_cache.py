"""Arrays that stay on a device between runs.

The front numbers every array that has a name.  Here an array's number finds its copy on a device,
so that weights are sent once, and a step takes what the step before it left there.  The front has
all of them in shared memory too: what is dropped here, for want of room or with the process, comes
back from there at its next use.  A CPU computes in shared memory itself and needs none of this.

Only the engine's process imports this module.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from jaxfs.types.memory_layout import PRODUCER_SHIFT

Key = tuple[int, int]  # the array's number, the device's id


class DeviceCache:
    """Arrays by number and device, at most ``limit_bytes`` of them on each device.

    Those not used for longest go first.  Called from several threads.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._arrays: OrderedDict[Key, Any] = OrderedDict()
        self._bytes: dict[int, int] = {}
        self._sent: dict[int, int] = {}
        self._evicted: dict[int, int] = {}
        self._lock = threading.Lock()

    def get(self, value: int, device: int) -> Any | None:
        """The array of this number on a device."""
        with self._lock:
            found = self._arrays.get((value, device))
            if found is not None:
                self._arrays.move_to_end((value, device))
            return found

    def put(self, value: int, device: int, array: Any, *, was_sent: bool = False) -> None:
        """Keep an array; ``was_sent`` from the host, not computed here."""
        if array.nbytes > self._limit_bytes:
            return
        with self._lock:
            self._remove((value, device))
            self._arrays[value, device] = array
            self._bytes[device] = self._bytes.get(device, 0) + array.nbytes
            self._sent[device] = self._sent.get(device, 0) + was_sent
            while self._bytes[device] > self._limit_bytes:
                self._remove(next(key for key in self._arrays if key[1] == device))
                self._evicted[device] = self._evicted.get(device, 0) + 1

    def drop(self, sources: Iterable[int]) -> None:
        """Nobody has a name for the arrays of these any more."""
        gone = frozenset(sources)
        with self._lock:
            for key in [key for key in self._arrays if key[0] >> PRODUCER_SHIFT in gone]:
                self._remove(key)

    def _remove(self, key: Key) -> None:
        array = self._arrays.pop(key, None)
        if array is not None:
            self._bytes[key[1]] -= array.nbytes

    def statistics(self, device: int) -> dict[str, int]:
        """Figures of a device, as its ``memory`` file shows them."""
        with self._lock:
            return {
                "resident_arrays": sum(key[1] == device for key in self._arrays),
                "resident_bytes": self._bytes.get(device, 0),
                "resident_sent": self._sent.get(device, 0),
                "resident_evicted": self._evicted.get(device, 0),
            }
