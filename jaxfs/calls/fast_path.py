"""The short way of small raw requests, the ones whose latency counts.

A request that comes in one write, whose bytes are values as they stand, needs no spool, no parser
and no encoder.  What it needs is worked out once for each version of a program.
"""

from __future__ import annotations

import itertools

import attrs

from jaxfs.engine.interface import Outcome
from jaxfs.ipc.channel import INLINE_BYTES
from jaxfs.programs.compiled import CompiledProgram
from jaxfs.types.memory_layout import output_offsets
from jaxfs.types.signature import Signature


@attrs.frozen
class FastPath:
    """``parts`` are the inputs' places in a request; ``nbytes`` its length.

    ``outputs_are_reply`` says that the engine's outputs, byte for byte, are the reply: no padding
    between them.
    """

    version: CompiledProgram
    nbytes: int
    parts: tuple[slice, ...]
    outputs_are_reply: bool

    def split(self, data: bytes) -> tuple[bytes, ...]:
        """The inputs of a request."""
        if len(self.parts) == 1:
            return (data,)
        return tuple([data[part] for part in self.parts])

    def reply(self, outcome: Outcome) -> bytes | None:
        """The whole reply, where it is short to tell."""
        if outcome.error is None and self.outputs_are_reply and isinstance(outcome.outputs, bytes):
            return outcome.outputs
        return None


def fast_path_for(version: CompiledProgram) -> FastPath | None:
    """The short way for a version, if its requests are small and any bytes will do for them."""
    signature = version.signature
    ends = [0, *itertools.accumulate(aval.nbytes for aval in signature.input_avals)]
    any_bits = all(aval.row.takes_any_bits for aval in signature.input_avals)
    if not signature.inputs or ends[-1] > INLINE_BYTES or not any_bits:
        return None
    parts = tuple(slice(start, stop) for start, stop in itertools.pairwise(ends))
    return FastPath(version, ends[-1], parts, _is_packed(signature))


def _is_packed(signature: Signature) -> bool:
    return output_offsets(signature)[1] == sum(aval.nbytes for aval in signature.output_avals)
