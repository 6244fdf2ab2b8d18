"""Maxima that are subtracted only to keep an exponential in range, as in softmax.

The result does not depend on such a maximum m, so its derivative is 0.  JAX marks it with
``stop_gradient``, which is gone after lowering.  To recognize it again, the uses of m are followed
through the module: ``x - m`` is shifted by m, its exponential is scaled by exp(-m), and the
quotient of two values with the same scale is neither.  The gradient is the same as without the
rewrite, in fewer passes over the array.

A rule may only claim what holds at every element; otherwise m counts as used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np
from jaxlib.mlir import ir

from jaxfs.stablehlo.importer.constants import splat_of
from jaxfs.stablehlo.importer.op import Operation
from jaxfs.stablehlo.importer.reducers import monoid

MAX_OPERATIONS = 40  # followed; log_softmax takes 8


@attrs.frozen
class MaxDependence:
    """How a value depends on m, the same at every element.

    Attributes:
        of: The value m.
        dimensions: The value's dimensions that are m's dimensions longer than 1.
        kind: ``shift`` if the value is something + factor * m, ``scale`` if it is something *
            exp(factor * m).
        factor: The factor of m.
    """

    of: Any
    dimensions: tuple[int, ...]
    kind: str = "shift"
    factor: int = 1

    @classmethod
    def start(cls, value: Any) -> MaxDependence:
        """Returns the dependence of a value on itself."""
        shape = value.type.shape
        return cls(value, tuple(d for d, size in enumerate(shape) if size != 1))

    def with_factor(self, factor: int) -> MaxDependence | None:
        """Returns it with another factor, None if that is 0: m has cancelled out."""
        return attrs.evolve(self, factor=factor) if factor else None


Dependences = Sequence[MaxDependence | None]  # of an operation's operands; None: independent of m
Rule = Callable[[Any, Dependences], MaxDependence | None]


class _NotFollowedError(Exception):
    """m is used in a way that no rule follows."""


def is_only_a_shift(operation: Operation) -> bool:
    """Returns whether nothing's derivative depends on the derivative of an operation's result."""
    result, block = operation.mlir.results[0], operation.mlir.block
    dependences = {result: MaxDependence.start(result)}
    waiting = _users(result)
    for _ in range(MAX_OPERATIONS):
        if not waiting:
            return True
        if any(user.block != block for user in waiting):
            return False
        user = _earliest(waiting)
        waiting = [one for one in waiting if one != user]
        try:
            found = _follow(user, dependences)
        except _NotFollowedError:
            return False
        if found is not None:
            dependences[user.results[0]] = found
            waiting += _users(user.results[0])
    return False


def _users(value: Any) -> list[Any]:
    return [use.owner.operation for use in value.uses]


def _earliest(users: Sequence[Any]) -> Any:
    """Returns the first operation in the block: all its operands have been followed."""
    first = users[0]
    for one in users[1:]:
        if one.is_before_in_block(first):
            first = one
    return first


def _follow(mlir: Any, dependences: dict[Any, MaxDependence]) -> MaxDependence | None:
    """Returns how an operation's result depends on m, None if its derivative does not."""
    rule = _RULES.get(mlir.name.removeprefix("stablehlo."), _other)
    operands = [dependences.get(operand) for operand in mlir.operands]
    depending = {(one.of, one.dimensions) for one in operands if one is not None}
    if len(depending) != 1:
        raise _NotFollowedError
    return rule(mlir, operands)


def _other(mlir: Any, dependences: Dependences) -> MaxDependence | None:
    """Returns None for booleans and integers, which have no derivative.

    Raises:
        _NotFollowedError: The operation has other results, or regions.
    """
    if len(mlir.regions) or not len(mlir.results) or not all(map(_is_discrete, mlir.results)):
        raise _NotFollowedError
    return None


def _is_discrete(value: Any) -> bool:
    kind = value.type
    return isinstance(kind, ir.RankedTensorType) and isinstance(kind.element_type, ir.IntegerType)


def _factors(kind: str, *dependences: MaxDependence | None) -> list[int]:
    """Returns the factors of dependences that are all of one kind; 0 for independent values.

    Raises:
        _NotFollowedError: One is of another kind.
    """
    if any(one is not None and one.kind != kind for one in dependences):
        raise _NotFollowedError
    return [0 if one is None else one.factor for one in dependences]


def _first(dependences: Dependences) -> MaxDependence:
    return next(one for one in dependences if one is not None)


def _combine(kind: str, sign: int) -> Rule:
    """Returns the rule by which the factors of two operands of one kind are added or subtracted."""

    def rule(mlir: Any, dependences: Dependences) -> MaxDependence | None:
        x, y = _factors(kind, *dependences)
        return _first(dependences).with_factor(x + sign * y)

    return rule


def _becomes(kind: str, other: str) -> Rule:
    def rule(mlir: Any, dependences: Dependences) -> MaxDependence | None:
        _factors(kind, *dependences)
        return attrs.evolve(_first(dependences), kind=other)

    return rule


def _keeps(kind: str, sign: int = 1) -> Rule:
    def rule(mlir: Any, dependences: Dependences) -> MaxDependence | None:
        (factor,) = _factors(kind, *dependences)
        return _first(dependences).with_factor(sign * factor)

    return rule


def _sum(sign: int) -> Rule:
    """Follows sums of shifted values, or of two values with the same scale."""

    def rule(mlir: Any, dependences: Dependences) -> MaxDependence | None:
        x, y = dependences
        is_scaled = x is not None and x.kind == "scale" and x == y
        return x if is_scaled else _combine("shift", sign)(mlir, dependences)

    return rule


def _flat(mlir: Any, dependences: Dependences) -> MaxDependence | None:
    """Follows a step function: its derivative is 0."""
    return None


def _convert(mlir: Any, dependences: Dependences) -> MaxDependence | None:
    """Follows a conversion: between floating-point types the derivative is 1."""
    return None if _is_discrete(mlir.results[0]) else _first(dependences)


def _maximum(mlir: Any, dependences: Dependences) -> MaxDependence | None:
    """Follows a maximum with minus infinity, which changes nothing."""
    _factors("shift", *dependences)
    others = [v for v, one in zip(mlir.operands, dependences, strict=True) if one is None]
    if len(others) != 1 or splat_of(others[0]) != -np.inf:
        raise _NotFollowedError
    return _first(dependences)


def _select(mlir: Any, dependences: Dependences) -> MaxDependence | None:
    """Follows a choice of values with the same dependence, or of a scaled value and zero.

    Any other is followed as a value of its own, as ``m where it is finite``: if nothing depends on
    that value, nothing depends on m through it.
    """
    _, *cases = dependences
    if cases[0] == cases[1]:
        return cases[0]
    others = [v for v, one in zip(mlir.operands[1:], cases, strict=True) if one is None]
    is_scale = _first(cases).kind == "scale"
    if is_scale and len(others) == 1 and splat_of(others[0]) == 0:
        return _first(cases)
    return MaxDependence.start(mlir.results[0])


def _broadcast(mlir: Any, dependences: Dependences) -> MaxDependence | None:
    targets = tuple(ir.DenseI64ArrayAttr(mlir.attributes["broadcast_dimensions"]))
    dependence = _first(dependences)
    return attrs.evolve(dependence, dimensions=tuple(targets[d] for d in dependence.dimensions))


def _reduce(mlir: Any, dependences: Dependences) -> MaxDependence | None:
    """Follows a sum of scaled values that is not along m's dimensions."""
    is_sum = len(dependences) == 2 and monoid(mlir.regions[0].blocks[0]) == "add"
    reduced = tuple(ir.DenseI64ArrayAttr(mlir.attributes["dimensions"]))
    dependence = _first(dependences)
    _factors("scale", *dependences)
    if not is_sum or splat_of(mlir.operands[1]) != 0 or {*reduced} & {*dependence.dimensions}:
        raise _NotFollowedError
    moved = tuple(d - sum(other < d for other in reduced) for d in dependence.dimensions)
    return attrs.evolve(dependence, dimensions=moved)


_RULES: dict[str, Rule] = {
    "abs": _keeps("scale"),
    "add": _sum(1),
    "broadcast_in_dim": _broadcast,
    "ceil": _flat,
    "convert": _convert,
    "divide": _combine("scale", -1),
    "exponential": _becomes("shift", "scale"),
    "floor": _flat,
    "log": _becomes("scale", "shift"),
    "maximum": _maximum,
    "multiply": _combine("scale", 1),
    "negate": _keeps("shift", -1),
    "reduce": _reduce,
    "select": _select,
    "sign": _flat,
    "subtract": _sum(-1),
}
