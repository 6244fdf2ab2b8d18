"""Arrays that came into being together, and who still needs them.

A source is the outputs of a call, or what was written to ``arrays/<name>`` at once.  Files name it,
runs wait for it; with the last of both its memory is free.  It may not be finished: runs that take
it as input then follow in the engine.
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

_NUMBERS = itertools.count(1)


NUMBER_DIGITS = 18


@attrs.define(eq=False, kw_only=True)
class Producer:
    """What the outputs of a call and a written array have in common.

    ``names`` counts the files that show it, ``holds`` the runs that wait for it; ``dependents`` are
    those runs.
    """

    number: int = attrs.field(factory=lambda: next(_NUMBERS))
    error: JaxfsError | None = None
    done: trio.Event = attrs.field(factory=trio.Event)
    link_count: int = 0
    consumers: int = 0
    dependents: set[ScheduledRun] = attrs.field(factory=set)
    refund: Callable[[], None] | None = None  # of the memory it is charged for

    @property
    def params(self) -> tuple[Param, ...]:
        """Names and types; empty while they are not known."""
        raise NotImplementedError

    @property
    def memory(self) -> Input | None:
        """Where all of it stands, as ``protocol.output_offsets`` says; None while it does not."""
        raise NotImplementedError

    @property
    def has_ended(self) -> bool:
        return self.done.is_set()

    @property
    def run(self) -> ScheduledRun | None:
        """The run that makes them, if one does."""
        return None

    @property
    def is_rejected(self) -> bool:
        """Whether it was not even begun: nobody waits for it."""
        return False

    def later(self, index: int) -> OutputRef:
        """One array of a source that has not ended."""
        raise NotImplementedError

    def outputs(self) -> list[TypedBuffer]:
        """The arrays, as they stand in memory.  Raises NotReady, or the source's own error."""
        raise NotImplementedError

    def place(self, index: int) -> tuple[int, int]:
        """Offset and length of one array."""
        offsets, _ = output_offsets(Signature((), self.params))
        return offsets[index], self.params[index].aval.nbytes

    def input(self, index: int, pool: Pool) -> Input:
        """One array as a run's input, retained; a copy only where it stands in another pool."""
        memory, (offset, nbytes) = self.memory, self.place(index)
        if not isinstance(memory, Range):
            return (memory or b"")[offset : offset + nbytes]
        if nbytes <= INLINE_BYTES // 8:
            return memory.segment.read(memory.offset + offset, nbytes)
        if memory.segment.is_of(pool):
            return Range(memory.segment.retain(), memory.offset + offset, nbytes, self.value(index))
        return copied(memory.segment.view(memory.offset + offset, nbytes), pool)

    def value(self, index: int) -> int:
        """The number by which an engine knows one array, wherever it stands."""
        return first_value(self.number) + index

    def retain(self) -> Segment | None:
        """Its shared memory, to be released by whoever reads it: an open file can be read to its
        end after it was removed."""
        return self.memory.segment.retain() if isinstance(self.memory, Range) else None

    def advise_unused(self) -> None:
        """Nobody reads it for now."""
        if isinstance(self.memory, Range):
            self.memory.segment.rest()

    def add_link(self) -> None:
        """One more file shows it."""
        self.link_count += 1

    def drop_link(self) -> None:
        """One file less does."""
        self.link_count -= 1
        self._drop_if_unused()

    def release(self) -> None:
        """A run that waited for it has ended."""
        self.consumers -= 1
        self._drop_if_unused()

    def _drop_if_unused(self) -> None:
        if self.link_count <= 0 and self.consumers <= 0:
            self.drop()
            if self.refund is not None:
                self.refund()
                self.refund = None

    def drop(self) -> None:
        """Nobody needs it any more: free its memory, stop what makes it."""
        raise NotImplementedError


def copied(data: bytes | memoryview, pool: Pool) -> Range:
    """A copy in shared memory.  Raises OSError where there is none left."""
    segment = pool.take(len(data))
    segment.write(0, data)
    return Range(segment, 0, len(data))


def split(params: Sequence[Parameter], memory: Input) -> list[TypedBuffer]:
    """The arrays in ``memory``, without a copy; valid while it is held."""
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


@attrs.define(eq=False)
class WrittenArrays(Producer):
    """Arrays somebody wrote."""

    _params: tuple[Param, ...]
    _memory: Input | None

    @property
    def params(self) -> tuple[Param, ...]:
        return self._params

    @property
    def memory(self) -> Input | None:
        return self._memory

    def outputs(self) -> list[TypedBuffer]:
        if self._memory is None:
            raise NotReady("it was removed")
        return split(self._params, self._memory)

    def drop(self) -> None:
        if isinstance(self._memory, Range):
            self._memory.segment.release()
        self._memory = None


def laid_out_bytes(buffers: Sequence[TypedBuffer]) -> list[bytes | memoryview]:
    """Arrays one after another, in pieces, as ``protocol.output_offsets`` says."""
    pieces, end = list[bytes | memoryview](), 0
    for buffer in buffers:
        pieces += [bytes(-end % ALIGNMENT), buffer.data]
        end += -end % ALIGNMENT + len(buffer.data)
    return pieces


@attrs.frozen(eq=False)
class ArrayRef:
    """Some arrays of a source, in order; ``indices`` is None for all of them.

    ``prefix`` is cut from their names; ``path`` is what error messages call it.
    """

    producer: Producer
    path: str
    indices: tuple[int, ...] | None = None
    prefix: str = ""

    @property
    def params(self) -> tuple[Param, ...]:
        """Names and types of its arrays."""
        found = self.producer.params
        if self.indices is None:
            return found
        return tuple(
            Param(found[index].name.removeprefix(self.prefix), found[index].aval)
            for index in self.indices
        )

    @property
    def nbytes(self) -> int:
        return sum(param.aval.nbytes for param in self.params)

    def outputs(self) -> list[TypedBuffer]:
        """As ``Source.outputs``."""
        found = self.producer.outputs()
        return found if self.indices is None else [found[index] for index in self.indices]

    def input(self, number: int, pool: Pool) -> Input | FutureInput:
        """Its array ``number`` as a run's input.  Raises RunFailed, Cancelled of the source."""
        if not self.params[number].aval.nbytes:
            return b""
        index = number if self.indices is None else self.indices[number]
        found = FutureInput(self.producer, index, pool, self.path)
        if self.producer.has_ended:
            return found.now()
        self.producer.consumers += 1
        return found

    def select(self, word: str) -> ArrayRef | None:
        """The part a word names: a number, a name, or what several names begin with, as in a
        pytree's key path.  None where there is none."""
        chosen = _numbered(word, len(self.params))
        names = [param.name for param in self.params]
        prefix = ""
        if chosen is None and word and names.count(word) == 1:
            chosen = (names.index(word),)
        elif chosen is None and word:
            prefix = f"{word}."
            chosen = tuple(n for n, name in enumerate(names) if name.startswith(prefix))
        if not chosen:
            return None
        indices = self.indices or tuple(range(len(self.producer.params)))
        picked = tuple(indices[number] for number in chosen)
        return ArrayRef(self.producer, f"{self.path}.{word}", picked, self.prefix + prefix)


def leaf_order(names: Sequence[str], leaves: Sequence[str]) -> Sequence[int]:
    """Which of ``leaves`` each input is, by name where the inputs are called the same in a pytree.

    ``params.b params.w`` take the leaves ``w b`` as 1, 0; else it is one after another.
    """
    paths = [name.split(".") for name in names]
    for cut in range(min(map(len, paths), default=0)):
        if len({tuple(path[:cut]) for path in paths}) > 1:
            break
        wanted = [".".join(path[cut:]) for path in paths]
        if len(set(wanted)) == len(wanted) == len(leaves) and set(wanted) == set(leaves):
            return [leaves.index(name) for name in wanted]
    return range(len(leaves))


def by_key_path(name: str) -> tuple[tuple[bool, int, str], ...]:
    """A key that sorts names as JAX flattens dicts and lists: ``w.2`` before ``w.10``."""
    return tuple(
        (not is_number(word), int(word) if is_number(word) else 0, word) for word in name.split(".")
    )


def is_number(word: str) -> bool:
    """Whether it is the number of an array: Python refuses to read ones of thousands of digits."""
    return word.isdecimal() and len(word) <= NUMBER_DIGITS


def _numbered(word: str, count: int) -> tuple[int, ...] | None:
    if is_number(word) and int(word) < count and str(int(word)) == word:
        return (int(word),)
    return None


@attrs.frozen(eq=False)
class FutureInput:
    """An input that another run has yet to make.  Implements ``queue.Awaited``."""

    producer: Producer
    index: int
    pool: Pool
    path: str

    @property
    def done(self) -> trio.Event:
        return self.producer.done

    @property
    def dependents(self) -> set[ScheduledRun]:
        return self.producer.dependents

    @property
    def run(self) -> ScheduledRun | None:
        """The run that makes it."""
        return self.producer.run

    def now(self) -> Input:
        """It, from a source that has ended, retained.  Raises RunFailed, Cancelled."""
        failure = self.failure()
        if failure is not None:
            raise failure
        return self.producer.input(self.index, self.pool)

    def later(self) -> OutputRef:
        """It, from a source whose run is in the engine already."""
        return self.producer.later(self.index)

    def failure(self) -> JaxfsError | None:
        """Why it will not be there, if that is known."""
        error = self.producer.error
        if error is None and self.producer.has_ended and self.producer.memory is None:
            error = Cancelled("it was removed")
        if error is None:
            return None
        if isinstance(error, Cancelled):
            return Cancelled(f"its input {self.path} was cancelled")
        return RunFailed(f"its input {self.path} failed: {error.reason}", error.diagnostics)

    def release(self) -> None:
        """Whoever waited for it has ended."""
        self.producer.release()
