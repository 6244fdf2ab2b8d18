"""An executable ready to run, with everything about its arrays worked out in advance.

Only the engine's process imports this module.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from jaxfs import jaxcompat
from jaxfs.codecs.avals import Aval
from jaxfs.engine.memory import Memory
from jaxfs.engine.protocol import Execute, Load, output_offsets
from jaxfs.stablehlo.signature import Signature

QUICK_BYTES = 1 << 20
UNBOUNDED = frozenset({"kWhile", "kSort", "kCustomCall", "kInfeed", "kOutfeed", "kSend", "kRecv"})


def load(message: Load, fd: int, device: Any) -> LoadedExecutable:
    """Make the file behind ``fd``, which this closes, ready to run on ``device``.

    Raises what jax raises: the bytes are not an executable, or the compiler's words.
    """
    with os.fdopen(fd, "rb") as file:
        data = file.read()
    if message.serialized:
        executable = jaxcompat.deserialize(data, device)
    else:
        executable = jaxcompat.compile_artifact(data, message.signature, device)
    return LoadedExecutable(executable, message.signature)


class LoadedExecutable:
    """One executable: arguments in, outputs out.

    ``is_quick`` says that a run cannot take long, so that the thread that reads messages may start
    it itself.  XLA runs what it estimates as under 1,000 operations in the calling thread, and its
    estimate counts one iteration of a loop and nothing for moving data: a small endless loop
    would stop the engine.
    """

    def __init__(self, executable: Any, signature: Signature) -> None:
        opcodes = jaxcompat.opcodes(executable)
        if "kCustomCall" in opcodes:
            jaxcompat.initialize_custom_calls()
        self._inputs = [(aval.row.numpy, aval.shape) for aval in signature.input_avals]
        offsets, nbytes = output_offsets(signature)
        self._nbytes = nbytes
        self._outputs = list(zip(offsets, map(_Output, signature.output_avals), strict=True))
        moved = sum(aval.nbytes for aval in signature.input_avals) + nbytes
        moved += jaxcompat.temporary_bytes(executable)
        self.is_quick = moved <= QUICK_BYTES and not opcodes & UNBOUNDED
        self.run: Any = (
            jaxcompat.callable_of(executable, signature)
            if self.is_quick
            else jaxcompat.concurrent_callable_of(executable)
        )

    def arguments(self, message: Execute, memory: Memory) -> list[Any]:
        """The inputs as arrays over shared memory."""
        return [
            memory.array(source, dtype, shape)
            for source, (dtype, shape) in zip(message.inputs, self._inputs, strict=True)
        ]

    def collect(self, arrays: Any, message: Execute, memory: Memory) -> bytes:
        """Copy finished outputs to where the message wants them, or return them."""
        if message.output is not None:
            for array, (offset, output) in zip(arrays, self._outputs, strict=True):
                slot = memory.slot(message.output, offset, output.dtype, output.shape)
                np.copyto(slot, output.of(array))
            return b""
        parts = [
            output.of(array).tobytes()
            for array, (_, output) in zip(arrays, self._outputs, strict=True)
        ]
        return parts[0] if len(parts) == 1 else self._packed(parts)

    def _packed(self, parts: list[bytes]) -> bytes:
        packed = bytearray(self._nbytes)
        for (offset, _), part in zip(self._outputs, parts, strict=True):
            packed[offset : offset + len(part)] = part
        return bytes(packed)


class _Output:
    """How one output leaves.

    XLA leaves the upper bits of a signed sub-byte element zero where ml_dtypes, and everybody who
    reads the bytes as int8, has the sign.
    """

    def __init__(self, aval: Aval) -> None:
        self.shape = aval.shape
        self._widen = aval.dtype in ("i2", "i4")
        self.dtype = np.dtype(np.int8) if self._widen else aval.row.numpy

    def of(self, array: Any) -> Any:
        """The array's memory, without a copy on CPU."""
        found = np.asarray(array)
        return found.astype(np.int8) if self._widen else found
