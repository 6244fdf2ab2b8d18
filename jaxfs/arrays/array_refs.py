"""References to arrays of a producer: what a name, a binding, a view or an input points to."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import trio

from jaxfs.arrays.producers import CopyInput, Producer
from jaxfs.arrays.run_inputs import ScheduledRun
from jaxfs.engine.interface import Input, OutputRef
from jaxfs.errors import Cancelled, JaxfsError, RunFailed
from jaxfs.ipc.shared_memory import Pool
from jaxfs.types.buffers import TypedBuffer
from jaxfs.types.signature import Param

NUMBER_DIGITS = 18  # of an array's number; Python refuses to parse thousands of digits


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

    def param(self, number: int) -> Param:
        """Returns the name and type of one of the arrays, without a look at the others."""
        if self.indices is None:
            return self.producer.params[number]
        found = self.producer.params[self.indices[number]]
        return Param(found.name.removeprefix(self.prefix), found.aval)

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

    def input(self, number: int, pool: Pool, copy: CopyInput | None = None) -> Input | FutureInput:
        """Returns one of the arrays as a run's input.

        Args:
            number: The position of the array.
            pool: The memory of the engine that runs it.
            copy: Copies an array that is there in another engine's memory; at once, if None.

        Raises:
            RunFailed: What makes the array failed.
            Cancelled: What makes the array was cancelled.
            OSError: There is no memory for a copy.
        """
        if not self.param(number).aval.nbytes:
            return b""
        index = number if self.indices is None else self.indices[number]
        found = FutureInput(self.producer, index, pool, self.path)
        if self.producer.has_ended:
            return found.resolve(copy)
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
    paths, ends = [name.split(".") for name in names], [name.split(".") for name in leaves]
    cut, rest = divmod(sum(map(len, paths)) - sum(map(len, ends)), max(len(names), 1))
    if len(names) == len(leaves) and not rest and 0 <= cut < min(map(len, paths), default=0):
        index_of = {name: number for number, name in enumerate(leaves)}
        wanted = [".".join(path[cut:]) for path in paths]
        has_prefix = len({tuple(path[:cut]) for path in paths}) == 1
        if has_prefix and len(set(wanted)) == len(wanted) and set(wanted) == index_of.keys():
            return [index_of[name] for name in wanted]
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

    def resolve(self, copy: CopyInput | None = None) -> Input:
        """Returns the input, retained, once the producer has ended.

        Raises:
            RunFailed: What makes the input failed.
            Cancelled: What makes the input was cancelled, or its result removed.
            OSError: There is no memory for a copy.
        """
        failure = self.failure()
        if failure is not None:
            raise failure
        return self.producer.input(self.index, self.pool, copy)

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
