"""A run as the front keeps it, from submission to its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from jaxfs.engine.interface import Executable, Input, Outcome, Range
from jaxfs.engine.protocol import OUTPUT_ALIGNMENT
from jaxfs.errors import Cancelled
from jaxfs.wire.channel import INLINE_BYTES
from jaxfs.wire.memory import Pool, Segment, SegmentRef

INLINE_TOTAL_BYTES = 4 * INLINE_BYTES  # of all inputs of a run, so that a message stays small


@attrs.define(eq=False)
class Run:
    """One run, or with ``inputs`` None only the loading of the executable.

    It holds its segments until the engine cannot touch them any more: a cancelled run keeps them
    while it is still running.
    """

    number: int
    executable: Executable
    inputs: tuple[Input, ...] | None
    done: Callable[[Outcome], None]
    output: Segment | None = None
    attempts: int = 0
    has_ended: bool = False

    @property
    def key(self) -> str:
        return self.executable.key

    @property
    def segments(self) -> list[Segment]:
        """Every segment the engine has to know for this run."""
        found = [value.segment for value in self.inputs or () if isinstance(value, Range)]
        return found + ([self.output] if self.output is not None else [])

    @property
    def input_refs(self) -> tuple[SegmentRef | bytes, ...]:
        """The inputs as the engine is told of them."""
        return tuple(
            value.segment.ref(value.offset, value.nbytes) if isinstance(value, Range) else value
            for value in self.inputs or ()
        )

    @property
    def output_ref(self) -> SegmentRef | None:
        return self.output.ref(0, self.output.capacity) if self.output is not None else None

    @property
    def inline_bytes(self) -> int:
        """How many bytes of outputs the engine's answer has."""
        return self.executable.output_bytes if self.output is None else 0

    def hold(self, pool: Pool) -> None:
        """Keep the inputs' segments.  Raises OSError where many small inputs find no room."""
        inline = sum(len(value) for value in self.inputs or () if isinstance(value, bytes))
        if inline > INLINE_TOTAL_BYTES:
            self.inputs = _spilled(self.inputs or (), pool)
        else:
            for segment in self.segments:
                segment.retain()

    def reserve_output(self, pool: Pool) -> None:
        """Take room for the outputs where they do not fit into a message.  Raises OSError."""
        if self.output is None and self.inputs is not None:
            nbytes = self.executable.output_bytes
            if nbytes > INLINE_BYTES:
                self.output = pool.take(nbytes)

    def end(self, outcome: Outcome) -> None:
        """Tell the submitter; only the first end counts."""
        if not self.has_ended:
            self.has_ended = True
            self.done(outcome)

    def cancel(self, reason: str) -> None:
        """Nobody wants the result any more."""
        self.end(Outcome(error=Cancelled(reason)))

    def finished(self, outputs: bytes, run_usec: int) -> None:
        """The engine has answered: the receiver takes over the output's segment."""
        found: Input = outputs
        if self.output is not None and not self.has_ended:
            nbytes = self.executable.output_bytes
            found, self.output = Range(self.output, 0, nbytes), None
        self.let_go()
        self.end(Outcome(found, run_usec=run_usec))

    def let_go(self) -> None:
        """The engine is through with the segments."""
        for segment in self.segments:
            segment.release()
        self.inputs, self.output = (), None


def _spilled(inputs: Sequence[Input], pool: Pool) -> tuple[Input, ...]:
    """The same inputs with all small ones in one segment of shared memory."""
    rooms = [
        -(-len(value) // OUTPUT_ALIGNMENT) * OUTPUT_ALIGNMENT if isinstance(value, bytes) else 0
        for value in inputs
    ]
    segment, offset, found = pool.take(sum(rooms)), 0, []
    for value, room in zip(inputs, rooms, strict=True):
        if isinstance(value, bytes):
            segment.write(offset, value)
            found.append(Range(segment.retain(), offset, len(value)))
            offset += room
        else:
            value.segment.retain()
            found.append(value)
    segment.release()
    return tuple(found)
