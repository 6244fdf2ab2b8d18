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
from jaxfs.errors import Cancelled, JaxfsError, NotReady, RunFailed
from jaxfs.ipc.channel import INLINE_BYTES
from jaxfs.ipc.shared_memory import Pool, Segment
from jaxfs.types.buffers import Parameter, TypedBuffer
from jaxfs.types.memory_layout import ALIGNMENT, first_value, output_offsets
from jaxfs.types.signature import Param, Signature

INLINE_INPUT_BYTES = INLINE_BYTES // 8  # an input that is copied into the message to the engine
NUMBER_DIGITS = 18  # of an array's number; Python refuses to parse thousands of digits
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
    """

    number: int = attrs.field(factory=lambda: next(_NUMBERS))
    error: JaxfsError | None = None
    done: trio.Event = attrs.field(factory=trio.Event)
    link_count: int = 0
    consumers: int = 0
    dependents: set[ScheduledRun] = attrs.field(factory=set)
    refund: Callable[[], None] | None = None
    run: ScheduledRun | None = None

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

    def extent(self, index: int) -> tuple[int, int]:
        """Returns where one array lies in ``memory``.

        Args:
            index: The position of the array in ``params``.

        Returns:
            Its offset and its length, in bytes.
        """
        offsets, _ = output_offsets(Signature((), self.params))
        return offsets[index], self.params[index].aval.nbytes

    def value_number(self, index: int) -> int:
        """Returns the number by which an engine knows one of the arrays.

        Args:
            index: The position of the array in ``params``.
        """
        return first_value(self.number) + index

    def input(self, index: int, pool: Pool) -> Input:
        """Returns one array as a run's input, retained.

        Args:
            index: The position of the array in ``params``.
            pool: The memory of the engine that runs it; only an array of another pool is copied.

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
        return copy_to_pool(segment.view(start, nbytes), pool)

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


def copy_to_pool(data: bytes | memoryview, pool: Pool) -> Range:
    """Returns a copy in shared memory, with a segment of its own that the caller releases.

    Raises:
        OSError: There is no memory left.
    """
    segment = pool.take(len(data))
    segment.write(0, data)
    return Range(segment, 0, len(data))


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


@attrs.frozen(eq=False)
class ArrayRef:
    """A reference to some arrays of a producer, in order.

    Attributes:
        producer: What makes the arrays.
        path: The path of the arrays in the mount, for messages.
        indices: The arrays' positions in the producer; None for all of them.
        prefix: What is cut from the front of their names.
    """

    producer: Producer
    path: str
    indices: tuple[int, ...] | None = None
    prefix: str = ""

    @property
    def params(self) -> tuple[Param, ...]:
        """The names and types of the arrays."""
        found = self.producer.params
        if self.indices is None:
            return found
        return tuple(
            Param(found[index].name.removeprefix(self.prefix), found[index].aval)
            for index in self.indices
        )

    @property
    def nbytes(self) -> int:
        """The bytes of the arrays, without padding between them."""
        return sum(param.aval.nbytes for param in self.params)

    def outputs(self) -> list[TypedBuffer]:
        """Returns the arrays, without a copy.

        Raises:
            NotReady: The producer has not ended, or was dropped.
            JaxfsError: Why the producer failed.
        """
        found = self.producer.outputs()
        return found if self.indices is None else [found[index] for index in self.indices]

    def input(self, number: int, pool: Pool) -> Input | FutureInput:
        """Returns one of the arrays as a run's input.

        Raises:
            RunFailed: What makes the array failed.
            Cancelled: What makes the array was cancelled.
            OSError: There is no memory for a copy.
        """
        if not self.params[number].aval.nbytes:
            return b""
        index = number if self.indices is None else self.indices[number]
        found = FutureInput(self.producer, index, pool, self.path)
        if self.producer.has_ended:
            return found.resolve()
        self.producer.consumers += 1
        return found

    def select(self, selector: str) -> ArrayRef | None:
        """Returns a reference to some of the arrays, or None where the selector fits none.

        Args:
            selector: A number, a name, or a prefix of several names, as in a pytree's key path.
        """
        names = [param.name for param in self.params]
        chosen: tuple[int, ...]
        prefix = ""
        if is_number(selector) and selector == str(int(selector)) and int(selector) < len(names):
            chosen = (int(selector),)
        elif selector and names.count(selector) == 1:
            chosen = (names.index(selector),)
        else:
            prefix = f"{selector}."
            chosen = tuple(n for n, name in enumerate(names) if name.startswith(prefix))
        if not chosen or not selector:
            return None
        indices = self.indices or tuple(range(len(self.producer.params)))
        selected = tuple(indices[number] for number in chosen)
        return ArrayRef(self.producer, f"{self.path}.{selector}", selected, self.prefix + prefix)


def leaf_order(names: Sequence[str], leaves: Sequence[str]) -> Sequence[int]:
    """Returns which of ``leaves`` each input takes: by name where both name the same pytree.

    The inputs' names may have a common prefix that the leaves lack.  Where the names differ, the
    leaves are taken one after another.

    >>> leaf_order(["params.b", "params.w"], ["w", "b"])
    [1, 0]
    >>> leaf_order(["x", "y"], ["w", "b"])
    range(0, 2)
    """
    paths = [name.split(".") for name in names]
    for cut in range(min(map(len, paths), default=0)):
        if len({tuple(path[:cut]) for path in paths}) > 1:
            break
        wanted = [".".join(path[cut:]) for path in paths]
        if len(set(wanted)) == len(wanted) == len(leaves) and set(wanted) == set(leaves):
            return [leaves.index(name) for name in wanted]
    return range(len(leaves))


def key_path_order(name: str) -> tuple[tuple[bool, int, str], ...]:
    """Returns a sort key that orders names as JAX flattens dicts and lists.

    >>> sorted(["w.10", "w.2", "b"], key=key_path_order)
    ['b', 'w.2', 'w.10']
    """
    return tuple(
        (not is_number(word), int(word) if is_number(word) else 0, word) for word in name.split(".")
    )


def is_number(word: str) -> bool:
    """Returns whether a word can be the number of an array.

    >>> is_number("12"), is_number("-1"), is_number("x"), is_number("9" * 5000)
    (True, False, False, False)
    """
    return word.isdecimal() and len(word) <= NUMBER_DIGITS


@attrs.frozen(eq=False)
class FutureInput:
    """An input that another run has yet to make.  Implements ``PendingInput``.

    Attributes:
        producer: What makes the input.
        index: The position of the array in the producer.
        pool: The shared memory of the engine that takes the input.
        path: The path of the array in the mount, for messages.
    """

    producer: Producer
    index: int
    pool: Pool
    path: str

    @property
    def done(self) -> trio.Event:
        """Set when the producer has ended."""
        return self.producer.done

    @property
    def dependents(self) -> set[ScheduledRun]:
        """The runs that wait for the producer."""
        return self.producer.dependents

    @property
    def run(self) -> ScheduledRun | None:
        """The run that makes the input."""
        return self.producer.run

    def resolve(self) -> Input:
        """Returns the input, retained, once the producer has ended.

        Raises:
            RunFailed: What makes the input failed.
            Cancelled: What makes the input was cancelled, or its result removed.
            OSError: There is no memory for a copy.
        """
        failure = self.failure()
        if failure is not None:
            raise failure
        return self.producer.input(self.index, self.pool)

    def output_ref(self) -> OutputRef:
        """Returns the engine's name of the input, while the producer's run is in the engine."""
        return self.producer.output_ref(self.index)

    def failure(self) -> JaxfsError | None:
        """Returns why the input will never be there, or None if it is or may come."""
        error = self.producer.error
        if error is None and self.producer.has_ended and self.producer.memory is None:
            error = Cancelled("it was removed")
        if error is None:
            return None
        if isinstance(error, Cancelled):
            return Cancelled(f"its input {self.path} was cancelled")
        return RunFailed(f"its input {self.path} failed: {error.reason}", error.diagnostics)

    def release(self) -> None:
        """Ends one consumer's claim on the producer."""
        self.producer.release()
