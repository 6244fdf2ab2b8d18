"""An executable ready to run, with everything about its arrays computed in advance.

Only the worker imports this module.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import numpy as np
from numpy.typing import NDArray

from jaxfs.engine.protocol import Execute, Load
from jaxfs.engine.worker.mappings import Mappings
from jaxfs.engine.worker.slots import weight_of
from jaxfs.jaxcompat import executables
from jaxfs.posix import cpu_features
from jaxfs.types.avals import Aval
from jaxfs.types.memory_layout import output_offsets
from jaxfs.types.signature import Signature

Array = jax.Array | NDArray[np.generic]
Run = Callable[..., Sequence[jax.Array]]
QUICK_BYTES = 1 << 20
UNBOUNDED = frozenset({"kWhile", "kSort", "kCustomCall", "kInfeed", "kOutfeed", "kSend", "kRecv"})


_every_device = threading.Lock()


def read(message: Load, fd: int) -> bytes:
    """Returns what the file behind ``fd`` has, and closes the descriptor.

    Raises:
        ValueError: The file is damaged.
    """
    with os.fdopen(fd, "rb") as file:
        data = file.read()
    if message.digest and hashlib.sha256(data).hexdigest() != message.digest:
        raise ValueError("the executable is damaged: its checksum differs")
    return data


class JaxExecutable(Protocol):
    """JAX's object of an executable; ``jaxcompat.executables`` knows more of it."""

    @property
    def xla_executable(self) -> object:
        """XLA's object."""


def load(message: Load, data: bytes, devices: Sequence[jax.Device]) -> JaxExecutable:
    """Makes an executable, or an artifact, ready to run on all of ``devices``.

    Returns:
        JAX's object.

    Raises:
        ValueError: It was made for another CPU.
        Exception: What jax raises: the bytes are no executable, or the artifact does not compile.
    """
    found: JaxExecutable
    if message.serialized:
        _check_cpu(data, devices)
        found = executables.deserialize(data, devices)
    else:
        found = executables.compile_artifact(data, message.signature, devices)
    return found


def _check_cpu(data: bytes, devices: Sequence[jax.Device]) -> None:
    """Checks that this machine's CPU has what an executable was made for.

    The kernel may not list all that the CPU has, so that XLA is asked too before one is refused.

    Raises:
        ValueError: It lacks something: an instruction may end the process.
    """
    missing = cpu_features.missing_features(cpu_features.recorded_features(data))
    if missing:
        missing -= cpu_features.recorded_features(executables.compile_nothing(devices))
    if missing:
        names = " ".join(sorted(missing))
        raise ValueError(f"it was made for another CPU: this one has no {names}")


class LoadedExecutable:
    """One executable: arguments in, outputs out.

    Attributes:
        is_quick: Whether a run cannot take long, so that the thread that reads messages may start
            it itself.  XLA runs what it estimates as under 1,000 operations in the calling thread,
            and its estimate counts one iteration of a loop and nothing for moving data: a small
            endless loop would stop the engine.
        weight: How many slots a run takes.
        run: Calls it with arrays; returns arrays, which may not be ready yet.
        device_ids: The devices it runs on.
        raw: XLA's object.
    """

    def __init__(
        self, executable: Any, signature: Signature, devices: Sequence[jax.Device]
    ) -> None:
        self.device_ids = tuple(device.id for device in devices)
        self.raw = executables.xla_executable(executable)
        opcodes = executables.opcodes(executable)
        if "kCustomCall" in opcodes:
            executables.initialize_custom_calls()
        self._inputs = [(aval.row.numpy, aval.shape) for aval in signature.input_avals]
        offsets, nbytes = output_offsets(signature)
        self._nbytes = nbytes
        self._is_checked = False  # whether XLA's outputs are what the signature says
        self._outputs = list(zip(offsets, map(_Output, signature.output_avals), strict=True))
        whole = sum(aval.nbytes for aval in signature.input_avals) + nbytes
        moved = executables.bytes_accessed(executable) or whole
        temporary = executables.temporary_bytes(executable)
        moved += nbytes + temporary
        self.weight = weight_of(whole + temporary)
        is_alone = len(devices) == 1
        is_bounded = self._is_bounded(opcodes, max(moved, whole))
        self.is_quick = is_alone and moved <= QUICK_BYTES and is_bounded
        self.run: Run = (
            executables.make_callable(executable, signature)
            if self.is_quick
            else executables.make_concurrent_callable(executable)
        )
        if not is_alone:
            self.run = _one_at_a_time(self.run)

    def _is_bounded(self, opcodes: frozenset[str], touched_bytes: int) -> bool:  # noqa: ARG002
        """Returns whether a run of these operations ends soon; devices count the bytes too."""
        return not opcodes & UNBOUNDED

    def arguments(self, message: Execute, mappings: Mappings) -> list[Array]:
        """Returns the inputs as arrays over shared memory."""
        return [
            mappings.array(ref, dtype, shape)
            for ref, (dtype, shape) in zip(message.inputs, self._inputs, strict=True)
        ]

    def collect(self, arrays: Sequence[jax.Array], message: Execute, mappings: Mappings) -> bytes:
        """Copies finished outputs to the place that the message names.

        Returns:
            The outputs at ``output_offsets`` if it names none, else nothing.

        Raises:
            WrongOutput: XLA computes another type than the program was compiled for.
        """
        if not self._is_checked:
            for number, (array, (_, output)) in enumerate(zip(arrays, self._outputs, strict=True)):
                output.check(number, array)
            self._is_checked = True
        if message.output is not None:
            for array, (offset, output) in zip(arrays, self._outputs, strict=True):
                slot = mappings.slot(message.output, offset, output.dtype, output.shape)
                output.write(slot, array)
            return b""
        pieces = [
            output.as_numpy(array).tobytes()
            for array, (_, output) in zip(arrays, self._outputs, strict=True)
        ]
        return pieces[0] if len(pieces) == 1 else self._packed(pieces)

    def _packed(self, pieces: list[bytes]) -> bytes:
        packed = bytearray(self._nbytes)
        for (offset, _), piece in zip(self._outputs, pieces, strict=True):
            packed[offset : offset + len(piece)] = piece
        return bytes(packed)


def _one_at_a_time(run: Run) -> Run:
    """Makes a program on several devices run to its end before another one begins.

    XLA's threads wait in a collective until all devices have come to it.  Two programs of which
    each has some of the threads, and waits for more, would wait for ever.
    """

    def run_alone(*inputs: Array) -> Sequence[jax.Array]:
        with _every_device:
            arrays = run(*inputs)
            for array in arrays:
                array.block_until_ready()
        return arrays

    return run_alone


class WrongOutput(Exception):
    """An executable computes an array of another shape or dtype than its signature has.

    JAX takes the types from the signature and never compares them with XLA's, which differ where
    XLA's compiler has a bug: the array would be broadcast over the result.
    """


class _Output:
    """How one output is copied.

    XLA leaves the upper bits of a signed sub-byte element zero, where ml_dtypes, and all that read
    the bytes as int8, have the sign.
    """

    def __init__(self, aval: Aval) -> None:
        self.shape = aval.shape
        self._widen = aval.dtype in ("i2", "i4")
        self._is_narrow = aval.row.is_narrow
        self.dtype = np.dtype(np.int8) if self._widen else aval.row.numpy

    def check(self, number: int, array: jax.Array) -> None:
        """Compares the type that XLA has computed with that of the signature.

        Raises:
            WrongOutput: They differ.
        """
        if not array.is_fully_replicated:
            return  # XLA's shards have shapes of their own
        found = self.as_numpy(array)
        if (found.shape, found.dtype) != (self.shape, self.dtype):
            raise WrongOutput(
                f"XLA computes output {number} as {found.dtype}{list(found.shape)}, and the "
                f"program has {self.dtype}{list(self.shape)}: its compiler has a bug; write the "
                f"operation that makes this output in another way"
            )

    def as_numpy(self, array: jax.Array) -> NDArray[np.generic]:
        """Returns the array's memory, without a copy if it is on one CPU device.

        JAX keeps what it had to copy with the array, as long as that lives; narrow types are copied
        on a CPU too.
        """
        if self._is_narrow and array.is_fully_replicated:
            array = array.addressable_data(0)  # another object on the same memory
        found = np.asarray(array)
        return found.astype(np.int8) if self._widen else found

    def write(self, slot: NDArray[np.generic], array: jax.Array) -> None:
        """Copies the array to ``slot``, the shards of several devices one after another."""
        if array.is_fully_replicated:
            np.copyto(slot, self.as_numpy(array))
            return
        for shard in array.addressable_shards:
            if shard.replica_id == 0:
                slot[shard.index] = self.as_numpy(shard.data)
