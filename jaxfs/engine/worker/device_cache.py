"""Keeps arrays on a device between runs.

The front numbers every array that has a name.  Here an array's number finds its copy on a device,
so that weights are sent once, and a step takes what the step before it left there.  The front has
all of them in shared memory too: what is dropped here, for lack of memory or with the process, is
sent again at its next use.  A CPU computes in shared memory itself and needs no cache.

Only the worker imports this module.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable
from typing import Generic, Protocol, TypeVar

from jaxfs.types.memory_layout import PRODUCER_SHIFT

Key = tuple[int, int]  # the array's number, the device's id


class DeviceArray(Protocol):
    """What the cache needs of an array; jax.Array has it."""

    def on_device_size_in_bytes(self) -> int:
        """How much memory of the device it takes; narrow types are packed there."""


Cached = TypeVar("Cached", bound=DeviceArray)


class DeviceCache(Generic[Cached]):
    """Arrays by number and device; the least recently used are dropped first.

    Its methods may be called from several threads.

    Args:
        limit_bytes: The most that is kept on each device.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._arrays: OrderedDict[Key, Cached] = OrderedDict()
        self._sizes: dict[Key, int] = {}
        self._bytes: dict[int, int] = {}
        self._sent: dict[int, int] = {}
        self._evicted: dict[int, int] = {}
        self._lock = threading.Lock()

    def get(self, value: int, device: int) -> Cached | None:
        """Returns the array of this number on a device, or None."""
        with self._lock:
            found = self._arrays.get((value, device))
            if found is not None:
                self._arrays.move_to_end((value, device))
            return found

    def put(self, value: int, device: int, array: Cached, *, was_sent: bool = False) -> None:
        """Keeps an array, unless it is over the limit alone.

        Args:
            value: Its number.
            device: The id of the device it is on.
            array: The array.
            was_sent: Whether it came from the host, or else was computed here.
        """
        nbytes = array.on_device_size_in_bytes()
        if nbytes > self._limit_bytes:
            return
        with self._lock:
            self._remove((value, device))
            self._arrays[value, device] = array
            self._sizes[value, device] = nbytes
            self._bytes[device] = self._bytes.get(device, 0) + nbytes
            self._sent[device] = self._sent.get(device, 0) + was_sent
            self._evict(device, self._bytes[device] - self._limit_bytes)

    def make_room(self, device: int, nbytes: float, keep: Collection[int] = ()) -> int:
        """Drops the arrays not used for longest, until so many bytes are freed or none is left.

        Args:
            device: The id of the device.
            nbytes: How many bytes are wanted; infinity for all.
            keep: The numbers of arrays that stay.

        Returns:
            How many bytes were freed: by now, or when the runs that use them have ended.
        """
        with self._lock:
            before = self._bytes.get(device, 0)
            self._evict(device, nbytes, keep)
            return before - self._bytes.get(device, 0)

    def _evict(self, device: int, nbytes: float, keep: Collection[int] = ()) -> None:
        if nbytes <= 0:
            return
        target = self._bytes.get(device, 0) - nbytes
        for key in [key for key in self._arrays if key[1] == device and key[0] not in keep]:
            if self._bytes[device] <= target:
                return
            self._remove(key)
            self._evicted[device] = self._evicted.get(device, 0) + 1

    def drop(self, producers: Iterable[int]) -> None:
        """Drops the arrays of producers, which have no name any more."""
        gone = frozenset(producers)
        with self._lock:
            for key in [key for key in self._arrays if key[0] >> PRODUCER_SHIFT in gone]:
                self._remove(key)

    def _remove(self, key: Key) -> None:
        if self._arrays.pop(key, None) is not None:
            self._bytes[key[1]] -= self._sizes.pop(key)

    def statistics(self, device: int) -> dict[str, int]:
        """Returns the figures of a device, as its ``memory`` file shows them."""
        with self._lock:
            return {
                "resident_arrays": sum(key[1] == device for key in self._arrays),
                "resident_bytes": self._bytes.get(device, 0),
                "resident_sent": self._sent.get(device, 0),
                "resident_evicted": self._evicted.get(device, 0),
            }
