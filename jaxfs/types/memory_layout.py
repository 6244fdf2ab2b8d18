"""How values are numbered, and where the outputs of a run lie in shared memory.

Both sides of the engine protocol compute these from a signature, so that no message carries them.
"""

from __future__ import annotations

from jaxfs.types.signature import Signature

ALIGNMENT = 64  # bytes; XLA's CPU runtime copies an input that is aligned to less
PRODUCER_SHIFT = 20  # a producer makes fewer arrays than 2 to the power of this


def first_value(producer: int) -> int:
    """Returns the number of a producer's first array; those of the others follow.

    >>> first_value(3) + 1 == 3 * 2**20 + 1
    True
    """
    return producer << PRODUCER_SHIFT


def output_offsets(signature: Signature) -> tuple[tuple[int, ...], int]:
    """Returns the offset of each output in the output range, and the range's size, in bytes.

    >>> from jaxfs.types.avals import Aval
    >>> from jaxfs.types.signature import Param
    >>> output_offsets(Signature((), (Param("a", Aval("f32", (3,))), Param("b", Aval("i8", (5,))))))
    ((0, 64), 69)
    """
    offsets, end = [], 0
    for aval in signature.output_avals:
        start = -(-end // ALIGNMENT) * ALIGNMENT
        offsets.append(start)
        end = start + aval.nbytes
    return tuple(offsets), end
