"""An executable ready to run, with everything about its arrays worked out in advance.

Only the engine's process imports this module.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jaxfs.engine.protocol import Execute, Load
from jaxfs.engine.worker.device_cache import DeviceCache
from jaxfs.engine.worker.mappings import Mappings
from jaxfs.ipc.shared_memory import SegmentRef
from jaxfs.jaxcompat import executables
from jaxfs.types.avals import Aval
from jaxfs.types.memory_layout import output_offsets
from jaxfs.types.signature import Signature

QUICK_BYTES = 1 << 20
UNBOUNDED = frozenset({"kWhile", "kSort", "kCustomCall", "kInfeed", "kOutfeed", "kSend", "kRecv"})


_every_device = threading.Lock()


def load(message: Load, fd: int, devices: Sequence[Any]) -> LoadedExecutable:
    """Make the file behind ``fd``, which this closes, ready to run on all of ``devices``.

    Raises what jax raises: the bytes are not an executable, or the compiler's words.
    """
    with os.fdopen(fd, "rb") as file:
        data = file.read()
    if message.serialized:
        executable = executables.deserialize(data, devices)
    else:
        executable = executables.compile_artifact(data, message.signature, devices)
    return LoadedExecutable(executable, message.signature, devices)


class LoadedExecutable:
    """One executable: arguments in, outputs out.

    ``is_quick`` says that a run cannot take long, so that the thread that reads messages may start
    it itself.  XLA runs what it estimates as under 1,000 operations in the calling thread, and its
    estimate counts one iteration of a loop and nothing for moving data: a small endless loop
    would stop the engine.
    """

    def __init__(self, executable: Any, signature: Signature, devices: Sequence[Any]) -> None:
        self._device = devices[0] if len(devices) == 1 else None  # of more, nothing stays
        self._donated = {n for n, param in enumerate(signature.inputs) if param.donated}
        opcodes = executables.opcodes(executable)
        if "kCustomCall" in opcodes:
            executables.initialize_custom_calls()
        self._inputs = [(aval.row.numpy, aval.shape) for aval in signature.input_avals]
        offsets, nbytes = output_offsets(signature)
        self._nbytes = nbytes
        self._outputs = list(zip(offsets, map(_Output, signature.output_avals), strict=True))
        whole = sum(aval.nbytes for aval in signature.input_avals) + nbytes
        moved = executables.bytes_accessed(executable) or whole
        moved += nbytes + executables.temporary_bytes(executable)
        is_alone = len(devices) == 1
        self.is_quick = is_alone and moved <= QUICK_BYTES and not opcodes & UNBOUNDED
        self.run: Any = (
            executables.make_callable(executable, signature)
            if self.is_quick
            else executables.make_concurrent_callable(executable)
        )
        if not is_alone:
            self.run = _one_at_a_time(self.run)

    def arguments(
        self, message: Execute, memory: Mappings, residents: DeviceCache | None = None
    ) -> list[Any]:
        """The inputs as arrays over shared memory, or those that are on the device already."""
        arrays = [
            memory.array(source, dtype, shape)
            for source, (dtype, shape) in zip(message.inputs, self._inputs, strict=True)
        ]
        if residents is not None and self._device is not None:
            for index, source in enumerate(message.inputs):
                if isinstance(source, SegmentRef) and source.value and index not in self._donated:
                    arrays[index] = _resident(source.value, arrays[index], self._device, residents)
        return arrays

    def keep(self, arrays: Any, first: int, residents: DeviceCache) -> None:
        """Let outputs stay on the device, as the values from ``first`` on."""
        if self._device is not None:
            for number, array in enumerate(arrays):
                residents.put(first + number, self._device.id, array)

    def collect(self, arrays: Any, message: Execute, memory: Mappings) -> bytes:
        """Copy finished outputs to where the message wants them, or return them."""
        if message.output is not None:
            for array, (offset, output) in zip(arrays, self._outputs, strict=True):
                output.write(memory.slot(message.output, offset, output.dtype, output.shape), array)
            return b""
        parts = [
            output.as_numpy(array).tobytes()
            for array, (_, output) in zip(arrays, self._outputs, strict=True)
        ]
        return parts[0] if len(parts) == 1 else self._packed(parts)

    def _packed(self, parts: list[bytes]) -> bytes:
        packed = bytearray(self._nbytes)
        for (offset, _), part in zip(self._outputs, parts, strict=True):
            packed[offset : offset + len(part)] = part
        return bytes(packed)


def _resident(value: int, array: Any, device: Any, residents: DeviceCache) -> Any:
    """The array on the device, sent there where it is not."""
    found = residents.get(value, device.id)
    if found is None:
        # a CPU would take the memory as it is, and that is the front's
        own = array.copy() if device.platform == "cpu" else array
        found = jax.device_put(own, device)
        residents.put(value, device.id, found, was_sent=True)
    return found


def _one_at_a_time(run: Callable[..., Any]) -> Callable[..., Any]:
    """Run to the end before another such program begins, as XLA means to do.

    Its threads wait in a collective until all devices have come to it.  Two programs of which each
    has some of the threads, and waits for more, would wait for ever.
    """

    def run_alone(*inputs: Any) -> Any:
        with _every_device:
            arrays = run(*inputs)
            for array in arrays:
                array.block_until_ready()
        return arrays

    return run_alone


class _Output:
    """How one output leaves.

    XLA leaves the upper bits of a signed sub-byte element zero where ml_dtypes, and everybody who
    reads the bytes as int8, has the sign.
    """

    def __init__(self, aval: Aval) -> None:
        self.shape = aval.shape
        self._widen = aval.dtype in ("i2", "i4")
        self.dtype = np.dtype(np.int8) if self._widen else aval.row.numpy

    def as_numpy(self, array: Any) -> Any:
        """The array's memory, without a copy on CPU where it is on one device."""
        found = np.asarray(array)
        return found.astype(np.int8) if self._widen else found

    def write(self, slot: Any, array: Any) -> None:
        """Copy the array to ``slot``, the parts of several devices one after another."""
        if array.is_fully_replicated:
            np.copyto(slot, self.as_numpy(array))
            return
        for shard in array.addressable_shards:
            if shard.replica_id == 0:
                slot[shard.index] = self.as_numpy(shard.data)
