"""An executable on a device with memory of its own: arrays are sent there, stay there, come back.

Only the worker imports this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from jaxfs.engine.protocol import Execute
from jaxfs.engine.worker.device_cache import DeviceCache
from jaxfs.engine.worker.executable import QUICK_BYTES, UNBOUNDED, Array, LoadedExecutable
from jaxfs.engine.worker.mappings import Mappings
from jaxfs.ipc.shared_memory import SegmentRef
from jaxfs.jaxcompat import executables
from jaxfs.types.signature import Signature

Cache = DeviceCache[jax.Array]
# A branch is chosen on the host, which waits for all that was started on the device before.
WAITING = UNBOUNDED | {"kConditional"}


class DeviceExecutable(LoadedExecutable):
    """One executable on a device with memory of its own.

    Attributes:
        is_quick: Whether the thread that reads messages may start it: not before it has run once in
            another thread, because the first run loads modules and libraries.
        device_bytes: The memory that a run takes on each device.
        staged_bytes: What it may take of the host's memory for transfers.
    """

    def __init__(
        self,
        executable: Any,
        signature: Signature,
        devices: Sequence[jax.Device],
        cache: Cache | None,
    ) -> None:
        super().__init__(executable, signature, devices)
        self._cache = cache if len(devices) == 1 else None  # of more devices, nothing stays
        self._device = devices[0]
        self._donated = {n for n, param in enumerate(signature.inputs) if param.donated}
        self._sizes = [aval.packed_nbytes for aval in signature.input_avals]
        avals = (*signature.input_avals, *signature.output_avals)
        self.staged_bytes = sum(aval.nbytes for aval in avals)
        packed = sum(aval.packed_nbytes for aval in avals)
        self.device_bytes = packed + executables.temporary_bytes(executable)
        self._may_be_quick, self.is_quick = self.is_quick, False

    def _is_bounded(self, opcodes: frozenset[str], touched_bytes: int) -> bool:
        return not opcodes & WAITING and touched_bytes <= QUICK_BYTES

    def has_run(self) -> None:
        """Records that a run has ended well: later ones find all that they need on the device."""
        self.is_quick = self._may_be_quick

    def arguments(self, message: Execute, mappings: Mappings) -> list[Array]:
        """Returns the inputs as arrays over shared memory, and named ones on the device.

        An input that the program donates is a copy of the named array, made on the device.
        """
        arrays = super().arguments(message, mappings)
        if self._cache is not None:
            for index, value in self._named(message):
                found = self._on_device(value, arrays[index], self._cache)
                if index in self._donated:
                    found = jax.device_put(found, self._device, may_alias=False)
                arrays[index] = found
        return arrays

    @staticmethod
    def _named(message: Execute) -> list[tuple[int, int]]:
        """Returns the inputs that are arrays with names: their positions and numbers."""
        return [
            (index, ref.value)
            for index, ref in enumerate(message.inputs)
            if isinstance(ref, SegmentRef) and ref.value
        ]

    def _on_device(self, value: int, array: Array, cache: Cache) -> jax.Array:
        """Returns the array on the device, after sending it there if the cache has none."""
        found = cache.get(value, self._device.id)
        if found is None:
            # a CPU device would use the memory itself, and that is the front's
            own = array.copy() if self._device.platform == "cpu" else array
            found = jax.device_put(own, self._device)
            cache.put(value, self._device.id, found, was_sent=True)
        return found

    def make_room(self, message: Execute, free_bytes: int | None) -> int:
        """Lets arrays of the cache give way to a run.

        Args:
            message: The run; its inputs stay.
            free_bytes: What is free on the device; None to drop all other arrays.

        Returns:
            How many bytes were freed.
        """
        if self._cache is None:
            return 0
        keep = {value for _, value in self._named(message)}
        missing = float("inf")
        if free_bytes is not None:
            here = [n for n, value in self._named(message) if self._is_here(value, self._cache)]
            there = sum(self._sizes[index] for index in here if index not in self._donated)
            missing = self.device_bytes - there - free_bytes
        return self._cache.make_room(self._device.id, missing, keep) if missing > 0 else 0

    def _is_here(self, value: int, cache: Cache) -> bool:
        return cache.get(value, self._device.id) is not None

    def keep(self, arrays: Sequence[jax.Array], first_value: int) -> None:
        """Lets outputs stay on the device, for later runs that take them as inputs.

        Args:
            arrays: The outputs.
            first_value: The number of the first one; the others have the numbers after it.
        """
        if self._cache is not None:
            for index, array in enumerate(arrays):
                self._cache.put(first_value + index, self._device.id, array)

    @staticmethod
    def copying(arrays: Sequence[jax.Array]) -> list[jax.Array]:
        """Begins to copy outputs to the host, all at once.

        JAX keeps the copy with the array that it was asked of.  The outputs may stay on the device
        for long, so it is asked of other objects on the same memory.

        Returns:
            These objects, to ``collect``.
        """
        views = [
            array.addressable_data(0) if array.is_fully_replicated else array for array in arrays
        ]
        for view in views:
            view.copy_to_host_async()
        return views
