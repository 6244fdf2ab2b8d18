"""A run as the front keeps it, from submission to its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs

from jaxfs.engine.interface import Executable, Input, Outcome, OutputRef, Range
from jaxfs.engine.protocol import INPUT_FAILED
from jaxfs.errors import RunFailed
from jaxfs.ipc.channel import INLINE_BYTES
from jaxfs.ipc.shared_memory import Pool, Segment, SegmentRef
from jaxfs.types.memory_layout import ALIGNMENT

INLINE_TOTAL_BYTES = 4 * INLINE_BYTES  # of all inputs of a run, so that a message stays small


@attrs.define(eq=False)
class EngineRun:
    """One run, or the loading of an executable.

    It retains its segments until the worker cannot touch them any more: a cancelled run keeps them
    while it is still running.

    Attributes:
        number: As ``interface.Engine.submit`` returns it.
        executable: What runs.
        inputs: In the order of the signature; None if the executable is only to be loaded.
        done: Called once with the outcome.
        shared_as: The number of the producer under which other runs may take its outputs before it
            has ended; 0 if none may.
        user: For whom it runs.
        is_copied: Whether it also runs in another worker: it need not start again.
        output: Where large outputs go.
        dependencies: The runs that make inputs of this one.
        attempts: How many workers died while they had it.
        has_failed: Whether it will have no outputs.
        sent_usec: When it was sent last, by CLOCK_MONOTONIC.
        has_ended: Whether ``done`` was called, or will be.
        is_held: Whether it waits for the repair of its executable, or for a run that does.
    """

    number: int
    executable: Executable
    inputs: tuple[Input | OutputRef, ...] | None
    done: Callable[[Outcome], None]
    shared_as: int = 0
    user: int = 0
    is_copied: bool = False
    output: Range | None = None
    dependencies: list[EngineRun] = attrs.field(factory=list)
    attempts: int = 0
    has_failed: bool = False
    sent_usec: int = 0
    has_ended: bool = False
    is_held: bool = False

    @property
    def key(self) -> str:
        """The executable's."""
        return self.executable.key

    @property
    def segments(self) -> list[Segment]:
        """Every segment the worker has to map for this run."""
        found = [value.segment for value in self.inputs or () if isinstance(value, Range)]
        return found + ([self.output.segment] if self.output is not None else [])

    @property
    def input_refs(self) -> tuple[SegmentRef | bytes, ...]:
        """The inputs as ``protocol.Execute`` has them."""
        return tuple(
            value if isinstance(value, bytes) else _ref(value)
            for value in self.inputs or ()
            if not isinstance(value, OutputRef)  # ``retain_inputs`` left none
        )

    @property
    def output_ref(self) -> SegmentRef | None:
        """The place of the outputs as ``protocol.Execute`` has it."""
        return _ref(self.output) if self.output is not None else None

    @property
    def inline_bytes(self) -> int:
        """How many bytes of outputs are in the worker's answer."""
        return self.executable.output_bytes if self.output is None else 0

    def retain_inputs(self, pool: Pool, find: Callable[[int], EngineRun | None]) -> None:
        """Retains the inputs' segments.

        Args:
            pool: For outputs that other runs may take, and for inputs too many for a message.
            find: Returns a run that has not ended, by number.

        Raises:
            OSError: There is no memory.
            RunFailed: A run that makes an input of this one has failed.
        """
        inputs = tuple(self._located(value, find) for value in self.inputs or ())
        self.inputs = inputs if self.inputs is not None else None
        if self.shared_as:
            self.reserve_output(pool)
        if sum(len(value) for value in inputs if isinstance(value, bytes)) > INLINE_TOTAL_BYTES:
            self.inputs = _moved_to_segment(inputs, pool)
        else:
            for value in inputs:
                if isinstance(value, Range):
                    value.segment.retain()

    def copy(self, pool: Pool, copies: Mapping[int, EngineRun]) -> EngineRun:
        """Returns the same run for another worker; this one may go on where it is.

        The outputs have memory of their own, because both may write them at different times.

        Args:
            pool: For outputs that other runs may take.
            copies: Of the runs that this one may depend on, by number.

        Raises:
            OSError: There is no memory.
        """
        copy = EngineRun(
            self.number,
            self.executable,
            self.inputs,
            self.done,
            self.shared_as,
            self.user,
            dependencies=list(self.dependencies),
            attempts=self.attempts,
        )
        for segment in copy.segments:
            segment.retain()
        copy.follow(copies)
        try:
            if copy.shared_as:
                copy.reserve_output(pool)
        except OSError:
            copy.release_segments()
            raise
        self.is_copied = True
        return copy

    def follow(self, copies: Mapping[int, EngineRun]) -> None:
        """Takes inputs from the copies of the runs that it depends on."""
        originals = [other for other in self.dependencies if other.number in copies]
        if not originals or self.inputs is None:
            return
        self.inputs = tuple(_moved(value, originals, copies) for value in self.inputs)
        self.dependencies = [copies.get(other.number, other) for other in self.dependencies]

    def _located(self, value: Input | OutputRef, find: Callable[[int], EngineRun | None]) -> Input:
        """Returns where an input is, or where the run that makes it will put it."""
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
        """Takes memory for the outputs if they do not fit into a message.

        Raises:
            OSError: The pool has no memory left.
        """
        if self.output is None and self.inputs is not None:
            nbytes = self.executable.output_bytes
            if nbytes > (0 if self.shared_as else INLINE_BYTES):
                segment, offset = pool.take_range(nbytes)
                self.output = Range(segment, offset, nbytes)

    def end(self, outcome: Outcome) -> None:
        """Passes the outcome to the submitter.

        Only the first outcome counts: a cancelled run may still be answered by the worker.
        """
        if not self.has_ended:
            self.has_ended = True
            self.done(outcome)

    def finish(self, outputs: bytes, run_usec: int, started_usec: int) -> None:
        """Ends the run with what the worker answered.

        The receiver takes over the output's segment; few bytes are copied out of it instead, so
        that they do not keep a segment that others share.
        """
        found: Input = outputs
        output = self.output
        if output is not None and not self.has_ended:
            if output.nbytes <= INLINE_BYTES:
                found = output.segment.read(output.offset, output.nbytes)
            else:
                found, self.output = output, None
        self.release_segments()
        self.end(Outcome(found, None, run_usec, self.sent_usec, started_usec))

    def release_segments(self) -> None:
        """Releases the inputs' and outputs' segments: the worker does not use them any more.

        A second call does nothing, since the run then has none.
        """
        for segment in self.segments:
            segment.release()
        self.inputs, self.output = (), None
        self.dependencies.clear()


def _moved(
    value: Input | OutputRef, originals: Sequence[EngineRun], copies: Mapping[int, EngineRun]
) -> Input | OutputRef:
    """Returns an input where it lies in an original's outputs as the same part of its copy's."""
    for original in originals:
        old, new = original.output, copies[original.number].output
        if not (isinstance(value, Range) and old is not None and new is not None):
            continue
        start = value.offset - old.offset
        if value.segment is old.segment and 0 <= start < old.nbytes:
            new.segment.retain()
            value.segment.release()
            return Range(new.segment, new.offset + start, value.nbytes, value.value)
    return value


def _ref(place: Range) -> SegmentRef:
    return place.segment.ref(place.offset, place.nbytes, place.value)


def _moved_to_segment(inputs: Sequence[Input], pool: Pool) -> tuple[Input, ...]:
    """Returns the same inputs, retained, with all small ones in one segment of shared memory."""
    sizes = [
        -(-len(value) // ALIGNMENT) * ALIGNMENT if isinstance(value, bytes) else 0
        for value in inputs
    ]
    segment, offset = pool.take_range(sum(sizes))
    found = list[Input]()
    for value, size in zip(inputs, sizes, strict=True):
        if isinstance(value, bytes):
            segment.write(offset, value)
            found.append(Range(segment.retain(), offset, len(value)))
            offset += size
        else:
            value.segment.retain()
            found.append(value)
    segment.release()
    return tuple(found)
