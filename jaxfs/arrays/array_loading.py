"""From a request that was decoded to the memory of written arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence

import trio

from jaxfs.arrays.decoded_memory import THREAD_BYTES, Charge, JoinedMemory
from jaxfs.arrays.inputs import Request
from jaxfs.arrays.run_inputs import RunInput, release_inputs
from jaxfs.codecs.infer import InferredParam
from jaxfs.engine.interface import Input, Range
from jaxfs.errors import Invalid, from_os_error
from jaxfs.ipc.channel import INLINE_BYTES
from jaxfs.ipc.segment import Slot
from jaxfs.ipc.shared_memory import Pool
from jaxfs.quotas import SHARED_BYTES
from jaxfs.types.memory_layout import ALIGNMENT, output_offsets
from jaxfs.types.signature import Param, Signature

MAX_STRIDE_BYTES = 1 << 62


def check_strides(param: InferredParam) -> None:
    """Checks the shape of an empty array: numpy refuses one with strides that are too large.

    Raises:
        Invalid: numpy could not hold it.
    """
    nbytes = math.prod(size for size in param.aval.shape if size) * param.aval.row.itemsize
    if nbytes >= MAX_STRIDE_BYTES:
        raise Invalid(f"{param.aval} is too large for an array")


async def load_arrays(
    request: Request, params: Sequence[InferredParam], pool: Pool, charge: Charge
) -> Input:
    """Returns the arrays of a request in one piece of memory, laid out as outputs are.

    One large array that was written at an aligned offset stays where it is; others are copied, as
    small ones share segments.

    Args:
        request: The request.
        params: The types of the arrays.
        pool: The memory, which was charged.
        charge: Charges the user for what is needed for a while only.

    Raises:
        Invalid: The request is not valid in its format, or refers to a run that has not ended.
        NoSpace: There is no memory for the copy.
    """
    offsets, nbytes = output_offsets(Signature((), tuple(Param("", p.aval) for p in params)))
    memory = JoinedMemory(pool, charge, offsets, nbytes)
    inputs = list[RunInput]()
    try:
        inputs = await request.decode(params, pool, charge, memory)
        only = inputs[0] if len(inputs) == 1 else None
        if isinstance(only, Range) and only.offset % ALIGNMENT == 0 and not _is_better_copied(only):
            only.segment.retain()
            return only
        arrays = [
            (offsets[index], _bytes_of(value))
            for index, value in enumerate(inputs)
            if not (isinstance(value, Range) and memory.is_at(index, value))
        ]
        return await _join(arrays, nbytes, pool, memory.whole)
    except OSError as error:
        raise from_os_error(error, "keeping the arrays") from error
    finally:
        release_inputs(inputs)
        memory.close()


async def _join(
    arrays: Sequence[tuple[int, bytes | memoryview]], nbytes: int, pool: Pool, whole: Range | None
) -> Input:
    """Returns a copy of arrays at their offsets.

    Args:
        arrays: The offset of each, and its bytes.
        nbytes: The length of all.
        pool: The memory for the copy.
        whole: The memory in which the others are already, if there are any.

    Raises:
        OSError: There is no memory for it.
    """
    if whole is None and nbytes <= INLINE_BYTES:
        joined = bytearray(nbytes)
        for offset, piece in arrays:
            joined[offset : offset + len(piece)] = piece
        return bytes(joined)
    if whole is None:
        segment, start = pool.take_range(nbytes)
    else:
        segment, start = whole.segment.retain(), whole.offset

    def copy() -> None:
        for offset, piece in arrays:
            segment.write(start + offset, piece)

    try:
        if sum(len(piece) for _, piece in arrays) > THREAD_BYTES:
            await trio.to_thread.run_sync(copy)
        else:
            copy()
    except BaseException:
        segment.release()
        raise
    return Range(segment, start, nbytes)


def _is_better_copied(only: Range) -> bool:
    """Whether an array has a segment to itself, and could share one."""
    return only.nbytes <= SHARED_BYTES and not isinstance(only.segment, Slot)


def _bytes_of(value: RunInput) -> bytes | memoryview:
    """Returns the bytes of an input, without a copy; valid while the input is retained.

    Raises:
        Invalid: It is the output of a run that has not ended.
    """
    if isinstance(value, Range):
        return value.segment.view(value.offset, value.nbytes)
    if not isinstance(value, bytes):
        raise Invalid("a result that is not there yet is given a name by itself: write its path")
    return value
