"""A run as the front keeps it, from submission to its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from jaxfs.engine.interface import Executable, Input, Outcome, OutputRef, Range
from jaxfs.engine.protocol import INPUT_FAILED
from jaxfs.errors import Cancelled, RunFailed
from jaxfs.ipc.channel import INLINE_BYTES
from jaxfs.ipc.shared_memory import Pool, Segment, SegmentRef
from jaxfs.types.memory_layout import ALIGNMENT

INLINE_TOTAL_BYTES = 4 * INLINE_BYTES  # of all inputs of a run, so that a message stays small


@attrs.define(eq=False)
class EngineRun:
    """One run, or with ``inputs`` None only the loading of the executable.

    It holds its segments until the engine cannot touch them any more: a cancelled run keeps them
    while it is still running.
    """

    number: int
    executable: Executable
    inputs: tuple[Input | OutputRef, ...] | None
    done: Callable[[Outcome], None]
    shared_as: int = 0  # its outputs may be other runs' inputs before it has ended
    output: Range | None = None
    dependencies: list[EngineRun] = attrs.field(factory=list)  # those whose outputs it takes
    attempts: int = 0
    has_failed: bool = False
    sent_usec: int = 0  # the last time; CLOCK_MONOTONIC
    has_ended: bool = False

    @property
    def key(self) -> str:
        return self.executable.key

    @property
    def segments(self) -> list[Segment]:
        """Every segment the engine has to know for this run."""
        found = [value.segment for value in self.inputs or () if isinstance(value, Range)]
        return found + ([self.output.segment] if self.output is not None else [])

    @property
    def input_refs(self) -> tuple[SegmentRef | bytes, ...]:
        """The inputs as the engine is told of them."""
        return tuple(
            value if isinstance(value, bytes) else _ref(value)
            for value in self.inputs or ()
            if not isinstance(value, OutputRef)  # ``hold`` left none
        )

    @property
    def output_ref(self) -> SegmentRef | None:
        return _ref(self.output) if self.output is not None else None

    @property
    def inline_bytes(self) -> int:
        """How many bytes of outputs the engine's answer has."""
        return self.executable.output_bytes if self.output is None else 0

    def retain_inputs(self, pool: Pool, find: Callable[[int], EngineRun | None]) -> None:
        """Keep the inputs' segments.

        Raises OSError where there is no room, RunFailed where ``find`` does not know a run whose
        outputs are inputs of this one: it has failed.
        """
        inputs = tuple(self._placed(value, find) for value in self.inputs or ())
        self.inputs = inputs if self.inputs is not None else None
        if self.shared_as:
            self.reserve_output(pool)
        inline = sum(len(value) for value in self.inputs or () if isinstance(value, bytes))
        if inline > INLINE_TOTAL_BYTES:
            self.inputs = _spilled(inputs, pool)
        else:
            for value in inputs:
                if isinstance(value, Range):
                    value.segment.retain()

    def _placed(self, value: Input | OutputRef, find: Callable[[int], EngineRun | None]) -> Input:
        """Where an input stands or will stand."""
        if not isinstance(value, OutputRef):
            return value
        other = find(value.run)
        if other is None or other.output is None:
            raise RunFailed(INPUT_FAILED)
        if other not in self.dependencies:
            self.dependencies.append(other)
        output = other.output
        return Range(output.segment, output.offset + value.offset, value.nbytes, value.value)

    def reserve_output(self, pool: Pool) -> None:
        """Take room for the outputs where they do not fit into a message.  Raises OSError."""
        if self.output is None and self.inputs is not None:
            nbytes = self.executable.output_bytes
            if nbytes > (0 if self.shared_as else INLINE_BYTES):
                segment, offset = pool.take_range(nbytes)
                self.output = Range(segment, offset, nbytes)

    def end(self, outcome: Outcome) -> None:
        """Tell the submitter; only the first end counts."""
        if not self.has_ended:
            self.has_ended = True
            self.done(outcome)

    def cancel(self, reason: str) -> None:
        """Nobody wants the result any more."""
        self.end(Outcome(error=Cancelled(reason)))

    def finish(self, outputs: bytes, run_usec: int, started_usec: int) -> None:
        """The engine has answered: the receiver takes over the output's segment."""
        found: Input = outputs
        if self.output is not None and not self.has_ended:
            found = self._taken_out(self.output)
        self.release_segments()
        self.end(Outcome(found, None, run_usec, self.sent_usec, started_usec))

    def _taken_out(self, output: Range) -> Input:
        """The outputs for the receiver: few bytes do not keep a segment that others share."""
        if output.nbytes <= INLINE_BYTES:
            return output.segment.read(output.offset, output.nbytes)
        self.output = None
        return output

    def release_segments(self) -> None:
        """The engine is through with the segments."""
        for segment in self.segments:
            segment.release()
        self.inputs, self.output = (), None
        self.dependencies.clear()


def _ref(place: Range) -> SegmentRef:
    return place.segment.ref(place.offset, place.nbytes, place.value)


def _spilled(inputs: Sequence[Input], pool: Pool) -> tuple[Input, ...]:
    """The same inputs with all small ones in one segment of shared memory."""
    rooms = [
        -(-len(value) // ALIGNMENT) * ALIGNMENT if isinstance(value, bytes) else 0
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
