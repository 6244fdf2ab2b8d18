"""How values are numbered, and where the outputs of a run lie in shared memory."""

from __future__ import annotations

from jaxfs.types.signature import Signature

ALIGNMENT = 64  # bytes; what XLA's CPU runtime asks of memory it takes without a copy
SOURCE_SHIFT = 20  # a source has fewer arrays than 2 to the power of this


def first_value(source: int) -> int:
    """The number of a source's first array; the others follow."""
    return source << SOURCE_SHIFT


def output_offsets(signature: Signature) -> tuple[tuple[int, ...], int]:
    """Where each output stands in the output range, and the range's size in bytes."""
    offsets, end = [], 0
    for aval in signature.output_avals:
        start = -(-end // ALIGNMENT) * ALIGNMENT
        offsets.append(start)
        end = start + aval.nbytes
    return tuple(offsets), end
