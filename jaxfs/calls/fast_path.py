"""The fast path of small raw requests, where latency matters most.

A raw request that comes in one write is the inputs' bytes one after another: it needs no spool, no
parser and no encoder.  How to split it is worked out once for each compiled program.
"""

from __future__ import annotations

import itertools

import attrs

from jaxfs.engine.interface import Outcome
from jaxfs.ipc.channel import INLINE_BYTES
from jaxfs.programs.compiled import CompiledProgram
from jaxfs.types.memory_layout import output_offsets


@attrs.frozen
class FastPath:
    """How small raw requests of one compiled program are split, and their replies made.

    Attributes:
        compiled: The program.
        nbytes: The length of a request.
        slices: The place of each input in a request.
        outputs_are_reply: Whether the outputs of a run are the reply, byte for byte: there is no
            padding between them.
    """

    compiled: CompiledProgram
    nbytes: int
    slices: tuple[slice, ...]
    outputs_are_reply: bool

    def split(self, data: bytes) -> tuple[bytes, ...]:
        """Returns the inputs of a request.

        Args:
            data: A whole request, of ``nbytes`` bytes.
        """
        if len(self.slices) == 1:
            return (data,)
        return tuple([data[place] for place in self.slices])

    def reply(self, outcome: Outcome) -> bytes | None:
        """Returns the reply of a run, without a copy.

        Returns:
            The bytes; None where the outputs have to be encoded or the run failed.
        """
        if outcome.error is None and self.outputs_are_reply and isinstance(outcome.outputs, bytes):
            return outcome.outputs
        return None


def fast_path_for(compiled: CompiledProgram) -> FastPath | None:
    """Returns the fast path of a program, or None.

    A program has none if its requests are large, or if some bytes are no values of its types, as
    with bool: these need a parser to refuse them.
    """
    signature = compiled.signature
    ends = [0, *itertools.accumulate(aval.nbytes for aval in signature.input_avals)]
    any_bits = all(aval.row.takes_any_bits for aval in signature.input_avals)
    if not signature.inputs or ends[-1] > INLINE_BYTES or not any_bits:
        return None
    slices = tuple(slice(start, stop) for start, stop in itertools.pairwise(ends))
    packed_bytes = sum(aval.nbytes for aval in signature.output_avals)
    return FastPath(compiled, ends[-1], slices, output_offsets(signature)[1] == packed_bytes)
