"""Affine analysis of a loop's body: what it reads and writes at the loop's index.

A variable of the body is affine if its value in iteration k is ``offset + factor * k``.  Such
variables are followed through the arithmetic of the body's jaxpr, so ``n - 1 - i``, as in loops
that go backwards, and ``i < 0 ? i + n : i`` are found too.

This is the induction variable analysis of compilers: see "add recurrences" in
https://llvm.org/docs/Passes.html#scalar-evolution-scalar-evolution-analysis.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from jaxfs.jaxcompat import jaxprs


def integer_range(dtype: Any) -> tuple[int, int]:
    """Returns the smallest and the largest integer of a type, all integers up to them included.

    >>> integer_range(np.int8), integer_range(np.float16), integer_range(np.bool_)
    ((-128, 127), (-2048, 2048), (0, 1))
    """
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return 0, 1
    if dtype.kind == "f":
        largest = 1 << (int(np.finfo(dtype).nmant) + 1)
        return -largest, largest
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


@attrs.frozen
class AffineIndex:
    """An integer that is known in each iteration k: ``offset + factor * k``.

    Attributes:
        offset: Its value in the first iteration.
        factor: What an iteration adds to it.
    """

    offset: int
    factor: int = 0

    def fits(self, dtype: Any, trip_count: int) -> bool:
        """Returns whether a type has all its values; one that wraps around is not affine."""
        low, high = integer_range(dtype)
        return all(low <= end <= high for end in self.ends(trip_count))

    def ends(self, trip_count: int) -> tuple[int, int]:
        """Returns its values in the first and in the last iteration."""
        return self.offset, self.offset + self.factor * (trip_count - 1)

    def __add__(self, other: AffineIndex) -> AffineIndex:
        return AffineIndex(self.offset + other.offset, self.factor + other.factor)

    def __sub__(self, other: AffineIndex) -> AffineIndex:
        return AffineIndex(self.offset - other.offset, self.factor - other.factor)


@attrs.frozen
class ArrayAccess:
    """A read or an update of one row of an array: one long in a dimension, whole in all others.

    Attributes:
        equation: The number of the equation in the body's jaxpr.
        array: The variable of the array.
        dimension: The dimension in which the row is one long.
        index: The index of the row in that dimension.
        is_squeezed: Whether the row lacks the dimension.
    """

    equation: int
    array: Any
    dimension: int
    index: AffineIndex
    is_squeezed: bool = False

    def slice_of(self, trip_count: int) -> slice:
        """Returns the slice of all rows that the loop accesses, the lowest first."""
        low, high = sorted(self.index.ends(trip_count))
        return slice(low, high + 1, abs(self.index.factor))


class AffineVariables:
    """The variables of a loop's body that are affine, with their indices."""

    def __init__(
        self, closed_jaxpr: Any, induction: Mapping[Any, AffineIndex], trip_count: int
    ) -> None:
        """Follows the induction variables, and constants, through the body's equations."""
        jaxpr = closed_jaxpr.jaxpr
        self._trip_count = trip_count
        self._known = {
            var: index for var, index in induction.items() if index.fits(var.aval.dtype, trip_count)
        }
        for var, value in zip(jaxpr.constvars, closed_jaxpr.consts, strict=True):
            self._record(var, _constant(value))
        for equation in jaxpr.eqns:
            rule = _RULES.get(equation.primitive.name)
            operands = [self[var] for var in equation.invars]
            if rule is not None and all(known is not None for known in operands):
                self._record(equation.outvars[0], rule(trip_count, *operands))

    def __getitem__(self, var: Any) -> AffineIndex | None:
        return _constant(var.val) if jaxprs.is_literal(var) else self._known.get(var)

    def _record(self, var: Any, value: AffineIndex | None) -> None:
        is_scalar = var.aval.shape in ((), (1,)) and np.dtype(var.aval.dtype).kind in "iub"
        if value is not None and is_scalar and value.fits(var.aval.dtype, self._trip_count):
            self._known[var] = value

    def access(
        self, equation: int, array: Any, indices: Sequence[Any], shape: Sequence[int]
    ) -> ArrayAccess | None:
        """Returns how an equation accesses an array, if that is one row at an affine index.

        Args:
            equation: The number of the equation.
            array: The variable of the array.
            indices: The variables of the start index in each dimension; None is 0.
            shape: The shape of what is accessed, with all dimensions of the array.

        Returns:
            The access; None if it is of another form, or out of bounds in any iteration.
        """
        found = [AffineIndex(0) if var is None else self[var] for var in indices]
        moving = [d for d, index in enumerate(found) if index != AffineIndex(0)]
        if len(moving) != 1 or (index := found[moving[0]]) is None or not index.factor:
            return None
        (dimension,) = moving
        row = [*array.aval.shape]
        size, row[dimension] = row[dimension], 1
        is_within = all(0 <= end < size for end in index.ends(self._trip_count))
        if row != [*shape] or not is_within:
            return None
        return ArrayAccess(equation, array, dimension, index)


def basic_induction_variables(
    closed_jaxpr: Any, starts: Mapping[Any, int]
) -> dict[Any, AffineIndex]:
    """Returns the carries to which the body adds a constant, as the ``i`` of JAX's fori_loop.

    Args:
        closed_jaxpr: The body; its first input is the loop's own counter.
        starts: The variables of carries whose initial values are known, with these values.
    """
    jaxpr = closed_jaxpr.jaxpr
    found = {}
    definitions = {equation.outvars[0]: equation for equation in jaxpr.eqns if equation.outvars}
    for var, out in zip(jaxpr.invars[1:], jaxpr.outvars, strict=True):
        definition = None if jaxprs.is_literal(out) else definitions.get(out)
        if var in starts and definition is not None and definition.primitive.name == "add":
            others = [v for v in definition.invars if v is not var]
            step = _constant(getattr(others[0], "val", None)) if len(others) == 1 else None
            if step is not None:
                found[var] = AffineIndex(starts[var], step.offset)
    return found


def find_reads(closed_jaxpr: Any, variables: AffineVariables) -> list[ArrayAccess]:
    """Returns the rows of arrays that the body reads at an affine index."""
    found = []
    for number, equation in enumerate(closed_jaxpr.jaxpr.eqns):
        if equation.primitive.name == "dynamic_slice" and not jaxprs.is_literal(equation.invars[0]):
            array, *indices = equation.invars
            found.append(variables.access(number, array, indices, equation.params["slice_sizes"]))
    return [access for access in found if access is not None]


def find_writes(
    closed_jaxpr: Any, variables: AffineVariables, reads: Sequence[ArrayAccess]
) -> dict[int, ArrayAccess]:
    """Returns the carries, by number, of which an iteration only writes one row.

    The body may read the row before it writes it, and uses the carry for nothing else.
    """
    jaxpr = closed_jaxpr.jaxpr
    found = {}
    for carry, (var, out) in enumerate(zip(jaxpr.invars[1:], jaxpr.outvars, strict=True)):
        updates = [n for n in _users(jaxpr, var) if jaxpr.eqns[n].outvars[0] is out]
        write = _update(jaxpr.eqns[updates[0]], updates[0], variables) if updates else None
        if write is None or write.array is not var or abs(write.index.factor) != 1:
            continue
        same = [
            read.equation
            for read in reads
            if (read.array, read.dimension, read.index) == (var, write.dimension, write.index)
            and read.equation < write.equation
        ]
        is_returned_once = [v is out for v in jaxpr.outvars].count(True) == 1
        is_used_otherwise = any(v is var for v in jaxpr.outvars) or any(_users(jaxpr, out))
        uses = {*_users(jaxpr, var)}
        if uses == {*same, *updates} and is_returned_once and not is_used_otherwise:
            found[carry] = write
    return found


def _update(equation: Any, number: int, variables: AffineVariables) -> ArrayAccess | None:
    """Returns the row that an equation updates, by a slice or by a scatter of one row."""
    if equation.primitive.name == "dynamic_update_slice":
        array, update, *indices = equation.invars
        found = variables.access(number, array, indices, update.aval.shape)
        return None if update is array else found
    return _scatter(equation, number, variables) if equation.primitive.name == "scatter" else None


def _scatter(equation: Any, number: int, variables: AffineVariables) -> ArrayAccess | None:
    array, index, update = equation.invars
    numbers = equation.params["dimension_numbers"]
    dimensions = numbers.inserted_window_dims
    rest = tuple(size for d, size in enumerate(array.aval.shape) if d not in dimensions)
    is_plain = index.aval.shape == (1,) and update.aval.shape == rest and update is not array
    if not is_plain or len(dimensions) != 1 or numbers.operand_batching_dims:
        return None
    indices: list[Any] = [None] * array.aval.ndim
    indices[dimensions[0]] = index
    shape = [1 if d in dimensions else size for d, size in enumerate(array.aval.shape)]
    found = variables.access(number, array, indices, shape)
    return found and attrs.evolve(found, is_squeezed=True)


def _users(jaxpr: Any, var: Any) -> Iterator[int]:
    """Returns the numbers of the equations that use a variable."""
    return (n for n, e in enumerate(jaxpr.eqns) if any(v is var for v in e.invars))


def _constant(value: Any) -> AffineIndex | None:
    """Returns the index of a scalar integer, None for other values."""
    is_known = isinstance(value, int | np.integer | np.bool_ | np.ndarray)
    if not is_known or np.ndim(value) or np.asarray(value).dtype.kind not in "iub":
        return None
    return AffineIndex(int(value))


# A rule takes the trip count and affine operands, and returns None if the result is not affine.

Rule = Callable[..., AffineIndex | None]


def _compare(holds: Callable[[int, int], bool]) -> Rule:
    """1 or 0, if a comparison has the same result in every iteration."""

    def rule(trip_count: int, x: AffineIndex, y: AffineIndex) -> AffineIndex | None:
        first, last = map(holds, x.ends(trip_count), y.ends(trip_count))
        return AffineIndex(int(first)) if first == last else None

    return rule


def _either(holds: Callable[[int, int], bool]) -> Rule:
    """``x`` if a comparison always holds, ``y`` if it never does."""
    compare = _compare(holds)

    def rule(trip_count: int, x: AffineIndex, y: AffineIndex) -> AffineIndex | None:
        found = compare(trip_count, x, y)
        return None if found is None else x if found.offset else y

    return rule


def _multiply(_trip_count: int, x: AffineIndex, y: AffineIndex) -> AffineIndex | None:
    x, y = (y, x) if x.factor else (x, y)
    return None if x.factor else AffineIndex(x.offset * y.offset, x.offset * y.factor)


def _select(_trip_count: int, which: AffineIndex, *cases: AffineIndex) -> AffineIndex | None:
    return cases[which.offset] if not which.factor else None


def _clamp(
    trip_count: int, low: AffineIndex, x: AffineIndex, high: AffineIndex
) -> AffineIndex | None:
    """Returns the operand that the clamp selects, if it is the same one in all iterations."""
    above = _either(operator.ge)(trip_count, x, low)
    return None if above is None else _either(operator.le)(trip_count, above, high)


def _same(_trip_count: int, x: AffineIndex) -> AffineIndex:
    return x


_RULES: dict[str, Rule] = {
    "add": lambda _, x, y: x + y,
    "broadcast_in_dim": _same,
    "clamp": _clamp,
    "convert_element_type": _same,
    "copy": _same,
    "ge": _compare(operator.ge),
    "gt": _compare(operator.gt),
    "le": _compare(operator.le),
    "lt": _compare(operator.lt),
    "max": _either(operator.ge),
    "min": _either(operator.le),
    "mul": _multiply,
    "neg": lambda _, x: AffineIndex(-x.offset, -x.factor),
    "reshape": _same,
    "select_n": _select,
    "squeeze": _same,
    "sub": lambda _, x, y: x - y,
}
