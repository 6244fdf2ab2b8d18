"""Arrays that were made together, what makes them, and references to some of them.

A producer is a call, which makes its outputs, or an upload to ``arrays/<name>``.  Files link to
it and runs consume it; when the last of both is gone, its memory is freed.  It need not have ended:
runs that consume its outputs may follow it in the engine before that.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import attrs
import trio

from jaxfs.arrays.run_inputs import ScheduledRun
from jaxfs.engine.interface import Input, OutputRef, Range
from jaxfs.errors import JaxfsError, NotReady, recorded_briefly
from jaxfs.ipc.channel import INLINE_BYTES
from jaxfs.ipc.shared_memory import Pool, Segment
from jaxfs.types.buffers import Parameter, TypedBuffer
from jaxfs.types.memory_layout import ALIGNMENT, first_value, output_offsets
from jaxfs.types.signature import Param, Signature

INLINE_INPUT_BYTES = INLINE_BYTES // 8  # an input that is copied into the message to the engine
CopyInput = Callable[[Range, Pool], Range]  # copies an array to another engine's memory
_NUMBERS = itertools.count(1)


@attrs.define(eq=False, kw_only=True)
class Producer:
    """What makes arrays: the base of calls and uploads.

    Attributes:
        number: Identifies the producer for the engine; its arrays' value numbers follow from it.
        error: Why there are no arrays, if it failed.
        done: Set when it has ended, well or not.
        link_count: How many files show its arrays.
        consumers: How many unfinished runs take its arrays as inputs.
        dependents: The runs that were submitted before it had ended, and wait for it.
        refund: Ends the charge of its memory to a user.
        run: The run that makes its arrays, if one does.
        watchers: Called once it has ended or was refused.
    """

    number: int = attrs.field(factory=lambda: next(_NUMBERS))
    error: JaxfsError | None = attrs.field(default=None, converter=recorded_briefly)
    done: trio.Event = attrs.field(factory=trio.Event)
    link_count: int = 0
    consumers: int = 0
    dependents: set[ScheduledRun] = attrs.field(factory=set)
    refund: Callable[[], None] | None = None
    run: ScheduledRun | None = None
    watchers: list[Callable[[], None]] = attrs.field(factory=list)
    _offsets: tuple[int, ...] = attrs.field(default=(), init=False)

    @property
    def params(self) -> tuple[Param, ...]:
        """The names and types of its arrays; empty while they are not known."""
        raise NotImplementedError

    @property
    def memory(self) -> Input | None:
        """The memory of its arrays; None before there is any, and after it was dropped.

        ``bytes`` or a range of shared memory, in which each array lies at its offset by
        ``output_offsets``.
        """
        raise NotImplementedError

    def outputs(self) -> list[TypedBuffer]:
        """Returns its arrays, without a copy.

        Raises:
            NotReady: It has not ended, or was dropped.
            JaxfsError: Why it failed.
        """
        raise NotImplementedError

    def drop(self) -> None:
        """Frees its memory and stops its run: no file shows it and no run needs it."""
        raise NotImplementedError

    @property
    def has_ended(self) -> bool:
        """Whether ``done`` is set."""
        return self.done.is_set()

    @property
    def is_rejected(self) -> bool:
        """Whether its inputs were refused: there is no run to wait for."""
        return False

    @property
    def is_failed(self) -> bool:
        """Whether it has ended without arrays, or was refused."""
        return self.error is not None and (self.has_ended or self.is_rejected)

    def wake_watchers(self) -> None:
        """Calls the watchers, each once."""
        watchers, self.watchers = self.watchers, []
        for watcher in watchers:
            watcher()

    def extent(self, index: int) -> tuple[int, int]:
        """Returns where one array lies in ``memory``.

        Args:
            index: The position of the array in ``params``.

        Returns:
            Its offset and its length, in bytes.
        """
        params = self.params
        if len(self._offsets) != len(params):
            self._offsets, _ = output_offsets(Signature((), params))
        return self._offsets[index], params[index].aval.nbytes

    def value_number(self, index: int) -> int:
        """Returns the number by which an engine knows one of the arrays.

        Args:
            index: The position of the array in ``params``.
        """
        return first_value(self.number) + index

    def input(self, index: int, pool: Pool, copy: CopyInput | None = None) -> Input:
        """Returns one array as a run's input, retained.

        Args:
            index: The position of the array in ``params``.
            pool: The memory of the engine that runs it; only an array of another pool is copied.
            copy: Copies it; at once, if None.

        Raises:
            OSError: There is no memory for the copy.
        """
        memory, (offset, nbytes) = self.memory, self.extent(index)
        if not isinstance(memory, Range):
            return (memory or b"")[offset : offset + nbytes]
        segment, start = memory.segment, memory.offset + offset
        if nbytes <= INLINE_INPUT_BYTES:
            return segment.read(start, nbytes)
        if segment.belongs_to(pool):
            return Range(segment.retain(), start, nbytes, self.value_number(index))
        return (copy or copy_to_pool)(Range(segment, start, nbytes), pool)

    def output_ref(self, index: int) -> OutputRef:
        """Returns the engine's name for one array of a run that has not ended.

        Args:
            index: The position of the array in ``params``.
        """
        assert self.run is not None  # an input waits only for a producer that was submitted
        return OutputRef(self.run.number, *self.extent(index), self.value_number(index))

    def retain(self) -> Segment | None:
        """Returns its shared memory for a reader: an open file can be read to its end after that.

        Returns:
            The segment, which the reader releases; None if the arrays are not in shared memory.
        """
        return self.memory.segment.retain() if isinstance(self.memory, Range) else None

    def advise_unused(self) -> None:
        """Lets the kernel reclaim the mappings of its memory: no file has it open for now.

        The content stays in the shared memory; a later read maps the pages again.
        """
        if isinstance(self.memory, Range):
            self.memory.segment.advise_unused()

    def add_link(self) -> None:
        """Counts one more file that shows its arrays."""
        self.link_count += 1

    def drop_link(self) -> None:
        """Counts one file less; drops the producer with its last use."""
        self.link_count -= 1
        self._drop_if_unused()

    def release(self) -> None:
        """Counts one consumer less; drops the producer with its last use."""
        self.consumers -= 1
        self._drop_if_unused()

    def _drop_if_unused(self) -> None:
        """Drops the producer and ends its charge, once no file shows it and no run needs it."""
        if self.link_count <= 0 and self.consumers <= 0:
            self.drop()
            if self.refund is not None:
                self.refund()
                self.refund = None


def copy_to_pool(source: Range, pool: Pool) -> Range:
    """Returns a copy in shared memory, which the caller releases.

    Raises:
        OSError: There is no memory left.
    """
    segment, offset = pool.take_range(source.nbytes)
    segment.write(offset, source.segment.view(source.offset, source.nbytes))
    return Range(segment, offset, source.nbytes)


def split_outputs(params: Sequence[Parameter], memory: Input) -> list[TypedBuffer]:
    """Returns the arrays in ``memory``, without a copy; valid while the memory is held."""
    avals = [param.aval for param in params]
    offsets, _ = output_offsets(Signature((), tuple(Param("", aval) for aval in avals)))
    if isinstance(memory, Range):
        whole = memory.segment.view(memory.offset, memory.nbytes)
    else:
        whole = memoryview(memory)
    return [
        TypedBuffer(aval, whole[start : start + aval.nbytes])
        for aval, start in zip(avals, offsets, strict=True)
    ]


def join_outputs(buffers: Sequence[TypedBuffer]) -> list[bytes | memoryview]:
    """Returns arrays laid out by ``output_offsets``, in pieces: the inverse of ``split_outputs``.

    >>> from jaxfs.types.avals import parse_aval
    >>> buffers = [TypedBuffer(parse_aval("u8[2]"), b"ab"), TypedBuffer(parse_aval("u8[1]"), b"c")]
    >>> [len(piece) for piece in join_outputs(buffers)]
    [0, 2, 62, 1]
    """
    pieces, end = list[bytes | memoryview](), 0
    for buffer in buffers:
        pieces += [bytes(-end % ALIGNMENT), buffer.data]
        end += -end % ALIGNMENT + len(buffer.data)
    return pieces


@attrs.define(eq=False)
class WrittenArrays(Producer):
    """Arrays that a user wrote at once."""

    _params: tuple[Param, ...]
    _memory: Input | None

    @property
    def params(self) -> tuple[Param, ...]:
        """The names and types of the arrays."""
        return self._params

    @property
    def memory(self) -> Input | None:
        """The memory of the arrays; None after they were dropped."""
        return self._memory

    def outputs(self) -> list[TypedBuffer]:
        """Returns the arrays, without a copy.

        Raises:
            NotReady: They were dropped.
        """
        if self._memory is None:
            raise NotReady("it was removed")
        return split_outputs(self._params, self._memory)

    def drop(self) -> None:
        """Frees the memory; there is no run to stop.

        An open file that has retained the memory can still be read to its end.
        """
        if isinstance(self._memory, Range):
            self._memory.segment.release()
        self._memory = None
