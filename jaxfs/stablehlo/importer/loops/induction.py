"""What a loop's body reads and writes at the counter's place, found in its jaxpr.

A variable whose value at turn k is ``offset + factor * k`` is followed through arithmetic; so
``n - 1 - i``, as in loops that go backwards, and ``i < 0 ? i + n : i`` are found too.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from jaxfs.jaxcompat import jaxprs


@attrs.frozen
class Affine:
    """An integer known at each turn: ``offset + factor * k`` for k in range(length)."""

    offset: int
    factor: int = 0

    def ends(self, length: int) -> tuple[int, int]:
        """Its values at the first turn and at the last."""
        return self.offset, self.offset + self.factor * (length - 1)

    def __add__(self, other: Affine) -> Affine:
        return Affine(self.offset + other.offset, self.factor + other.factor)

    def __sub__(self, other: Affine) -> Affine:
        return Affine(self.offset - other.offset, self.factor - other.factor)


@attrs.frozen
class Place:
    """Where an equation of the body uses an array: one long in a dimension, whole in others."""

    equation: int
    array: Any  # the variable
    dimension: int
    index: Affine
    is_squeezed: bool = False  # whether the part used lacks the dimension

    def slice_of(self, length: int) -> slice:
        """All its places, lowest first."""
        low, high = sorted(self.index.ends(length))
        return slice(low, high + 1, abs(self.index.factor))


class Counters:
    """The affine variables of a body."""

    def __init__(self, closed: Any, counting: Mapping[Any, Affine], length: int) -> None:
        self._length = length
        self._known = dict(counting)
        for var, value in zip(closed.jaxpr.constvars, closed.consts, strict=True):
            self._note(var, _number(value))
        for equation in closed.jaxpr.eqns:
            rule = _RULES.get(equation.primitive.name)
            operands = [self[var] for var in equation.invars]
            if rule is not None and all(known is not None for known in operands):
                self._note(equation.outvars[0], rule(length, *operands))

    def __getitem__(self, var: Any) -> Affine | None:
        return _number(var.val) if jaxprs.is_literal(var) else self._known.get(var)

    def _note(self, var: Any, value: Affine | None) -> None:
        is_scalar = var.aval.shape in ((), (1,)) and np.dtype(var.aval.dtype).kind in "iub"
        if value is not None and is_scalar:
            self._known[var] = value

    def place(
        self, number: int, array: Any, indices: Sequence[Any], part: Sequence[int]
    ) -> Place | None:
        """Where an equation uses ``array``, if it does so at the counter's place and within it.

        An index of None is 0.
        """
        found = [Affine(0) if var is None else self[var] for var in indices]
        moving = [d for d, index in enumerate(found) if index != Affine(0)]
        if len(moving) != 1 or (index := found[moving[0]]) is None or not index.factor:
            return None
        (dimension,) = moving
        wanted = [*array.aval.shape]
        size, wanted[dimension] = wanted[dimension], 1
        is_within = all(0 <= end < size for end in index.ends(self._length))
        return Place(number, array, dimension, index) if wanted == [*part] and is_within else None


def induced(closed: Any, starts: Mapping[Any, int]) -> dict[Any, Affine]:
    """Carries that count along with the loop, as the ``i`` of JAX's fori_loop does.

    ``starts`` holds the carries' variables whose initial values are known.
    """
    found = {}
    makers = {equation.outvars[0]: equation for equation in closed.jaxpr.eqns if equation.outvars}
    for var, out in zip(closed.jaxpr.invars[1:], closed.jaxpr.outvars, strict=True):
        maker = None if jaxprs.is_literal(out) else makers.get(out)
        if var in starts and maker is not None and maker.primitive.name == "add":
            others = [v for v in maker.invars if v is not var]
            step = _number(getattr(others[0], "val", None)) if len(others) == 1 else None
            if step is not None:
                found[var] = Affine(starts[var], step.offset)
    return found


def reads(closed: Any, counters: Counters) -> list[Place]:
    """Slices of arrays at the counter."""
    found = []
    for number, equation in enumerate(closed.jaxpr.eqns):
        if equation.primitive.name == "dynamic_slice" and not jaxprs.is_literal(equation.invars[0]):
            array, *indices = equation.invars
            found.append(counters.place(number, array, indices, equation.params["slice_sizes"]))
    return [place for place in found if place is not None]


def writes(closed: Any, counters: Counters, found: Sequence[Place]) -> dict[int, Place]:
    """Updates at the counter of carries (by number) that the body uses for nothing else, but
    reading the same place before."""
    jaxpr = closed.jaxpr
    result = {}
    for carry, (var, out) in enumerate(zip(jaxpr.invars[1:], jaxpr.outvars, strict=True)):
        updates = [n for n in _users(jaxpr, var) if jaxpr.eqns[n].outvars[0] is out]
        place = _update(jaxpr.eqns[updates[0]], updates[0], counters) if updates else None
        if place is None or place.array is not var or abs(place.index.factor) != 1:
            continue
        same = [
            read.equation
            for read in found
            if (read.array, read.dimension, read.index) == (var, place.dimension, place.index)
            and read.equation < place.equation
        ]
        is_returned_once = [v is out for v in jaxpr.outvars].count(True) == 1
        is_returned = any(v is var for v in jaxpr.outvars) or any(_users(jaxpr, out))
        if {*_users(jaxpr, var)} == {*same, *updates} and is_returned_once and not is_returned:
            result[carry] = place
    return result


def _update(equation: Any, number: int, counters: Counters) -> Place | None:
    """Where an array is updated, by one slice or by a scatter of one."""
    if equation.primitive.name == "dynamic_update_slice":
        array, update, *indices = equation.invars
        found = counters.place(number, array, indices, update.aval.shape)
        return None if update is array else found
    return _scattered(equation, number, counters) if equation.primitive.name == "scatter" else None


def _scattered(equation: Any, number: int, counters: Counters) -> Place | None:
    array, places, update = equation.invars
    numbers = equation.params["dimension_numbers"]
    dimensions = numbers.inserted_window_dims
    rest = tuple(size for d, size in enumerate(array.aval.shape) if d not in dimensions)
    is_plain = places.aval.shape == (1,) and update.aval.shape == rest and update is not array
    if not is_plain or len(dimensions) != 1 or numbers.operand_batching_dims:
        return None
    indices: list[Any] = [None] * array.aval.ndim
    indices[dimensions[0]] = places
    part = [1 if d in dimensions else size for d, size in enumerate(array.aval.shape)]
    found = counters.place(number, array, indices, part)
    return found and attrs.evolve(found, is_squeezed=True)


def _users(jaxpr: Any, var: Any) -> Iterator[int]:
    return (n for n, e in enumerate(jaxpr.eqns) if any(v is var for v in e.invars))


def _number(value: Any) -> Affine | None:
    is_known = isinstance(value, int | np.integer | np.bool_ | np.ndarray)
    if not is_known or np.ndim(value) or np.asarray(value).dtype.kind not in "iub":
        return None
    return Affine(int(value))


# A rule: (length, *affine operands) -> affine, or None where the result is not

Rule = Callable[..., Affine | None]


def _compare(holds: Callable[[int, int], bool]) -> Rule:
    """1 or 0 where a comparison comes out the same at every turn."""

    def rule(length: int, x: Affine, y: Affine) -> Affine | None:
        first, last = map(holds, x.ends(length), y.ends(length))
        return Affine(int(first)) if first == last else None

    return rule


def _either(holds: Callable[[int, int], bool]) -> Rule:
    """x where a comparison always holds, y where it never does."""

    def rule(length: int, x: Affine, y: Affine) -> Affine | None:
        found = _compare(holds)(length, x, y)
        return None if found is None else x if found.offset else y

    return rule


def _times(length: int, x: Affine, y: Affine) -> Affine | None:
    x, y = (y, x) if x.factor else (x, y)
    return None if x.factor else Affine(x.offset * y.offset, x.offset * y.factor)


def _chosen(length: int, which: Affine, *cases: Affine) -> Affine | None:
    return cases[which.offset] if not which.factor else None


def _same(length: int, x: Affine) -> Affine:
    return x


def _bounded(length: int, low: Affine, x: Affine, high: Affine) -> Affine | None:
    above = _either(operator.ge)(length, x, low)
    return None if above is None else _either(operator.le)(length, above, high)


_RULES: dict[str, Rule] = {
    "add": lambda length, x, y: x + y,
    "broadcast_in_dim": _same,
    "clamp": _bounded,
    "convert_element_type": _same,
    "copy": _same,
    "ge": _compare(operator.ge),
    "gt": _compare(operator.gt),
    "le": _compare(operator.le),
    "lt": _compare(operator.lt),
    "max": _either(operator.ge),
    "min": _either(operator.le),
    "mul": _times,
    "neg": lambda length, x: Affine(-x.offset, -x.factor),
    "reshape": _same,
    "select_n": _chosen,
    "squeeze": _same,
    "sub": lambda length, x, y: x - y,
}
