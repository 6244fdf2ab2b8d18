"""Maxima that are subtracted only to keep an exponential in range, as in softmax.

What comes out does not depend on such a maximum, so nothing flows back to it.  JAX knows
(``stop_gradient``, which is gone after lowering); following the maximum through the module tells it
again: ``x - m`` is shifted by m, its exponential scaled by exp(-m), and of two that are scaled
alike the quotient is neither.  The gradient is the same, in fewer passes over the array.

A rule may only claim what holds at every element: where one does not, m counts as used.
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
class Dependence:
    """How a value depends on m, the value ``of``, at every element.

    ``shift``: it is something + factor * m; ``scale``: something * exp(factor * m).  It varies with
    m's dimensions, those longer than 1, along these of its own.
    """

    of: Any
    dimensions: tuple[int, ...]
    kind: str = "shift"
    factor: int = 1

    @classmethod
    def start(cls, value: Any) -> Dependence:
        """That of a value on itself."""
        shape = value.type.shape
        return cls(value, tuple(d for d, size in enumerate(shape) if size != 1))

    def by(self, factor: int) -> Dependence | None:
        """The same with another factor; None where m has cancelled out."""
        return attrs.evolve(self, factor=factor) if factor else None


class _Unknown(Exception):
    """m is used in a way that is not followed."""


def is_only_a_shift(operation: Operation) -> bool:
    """Whether no derivative of anything depends on that of the only result of an operation."""
    result, block = operation.mlir.results[0], operation.mlir.block
    traces = {result: Dependence.start(result)}
    waiting = _users(result)
    for _ in range(MAX_OPERATIONS):
        if not waiting:
            return True
        if any(user.block != block for user in waiting):
            return False
        user = _earliest(waiting)
        waiting = [one for one in waiting if one != user]
        try:
            found = _follow(user, traces)
        except _Unknown:
            return False
        if found is not None:
            traces[user.results[0]] = found
            waiting += _users(user.results[0])
    return False


def _users(value: Any) -> list[Any]:
    return [use.owner.operation for use in value.uses]


def _earliest(users: Sequence[Any]) -> Any:
    """What comes first in the block: all it depends on has been followed."""
    first = users[0]
    for one in users[1:]:
        if one.is_before_in_block(first):
            first = one
    return first


def _follow(mlir: Any, traces: dict[Any, Dependence]) -> Dependence | None:
    """How the result depends on m; None where its derivative does not."""
    rule = _RULES.get(mlir.name.removeprefix("stablehlo."), _other)
    operands = [traces.get(operand) for operand in mlir.operands]
    depending = {(one.of, one.dimensions) for one in operands if one is not None}
    if len(depending) != 1:
        raise _Unknown
    return rule(mlir, operands)


def _other(mlir: Any, traces: Sequence[Dependence | None]) -> Dependence | None:
    """Truth values and integers have no derivative; of other results nothing is known."""
    if len(mlir.regions) or not len(mlir.results) or not all(map(_is_discrete, mlir.results)):
        raise _Unknown
    return None


def _is_discrete(value: Any) -> bool:
    kind = value.type
    return isinstance(kind, ir.RankedTensorType) and isinstance(kind.element_type, ir.IntegerType)


Rule = Callable[[Any, Sequence[Dependence | None]], Dependence | None]


def _needs(kind: str, *traces: Dependence | None) -> list[int]:
    """The factors of traces of a kind; 0 where m is not in."""
    if any(one is not None and one.kind != kind for one in traces):
        raise _Unknown
    return [0 if one is None else one.factor for one in traces]


def _some(traces: Sequence[Dependence | None]) -> Dependence:
    return next(one for one in traces if one is not None)


def _combine(kind: str, sign: int) -> Rule:
    def rule(mlir: Any, traces: Sequence[Dependence | None]) -> Dependence | None:
        x, y = _needs(kind, *traces)
        return _some(traces).by(x + sign * y)

    return rule


def _becomes(kind: str, other: str) -> Rule:
    def rule(mlir: Any, traces: Sequence[Dependence | None]) -> Dependence | None:
        _needs(kind, *traces)
        return attrs.evolve(_some(traces), kind=other)

    return rule


def _keeps(kind: str, sign: int = 1) -> Rule:
    def rule(mlir: Any, traces: Sequence[Dependence | None]) -> Dependence | None:
        (factor,) = _needs(kind, *traces)
        return _some(traces).by(sign * factor)

    return rule


def _sum(sign: int) -> Rule:
    """Of shifted ones; or of two that are scaled alike."""

    def rule(mlir: Any, traces: Sequence[Dependence | None]) -> Dependence | None:
        x, y = traces
        is_scaled = x is not None and x.kind == "scale" and x == y
        return x if is_scaled else _combine("shift", sign)(mlir, traces)

    return rule


def _flat(mlir: Any, traces: Sequence[Dependence | None]) -> Dependence | None:
    """A step function: its derivative is 0."""
    return None


def _convert(mlir: Any, traces: Sequence[Dependence | None]) -> Dependence | None:
    """Between floating-point types the derivative is 1."""
    return None if _is_discrete(mlir.results[0]) else _some(traces)


def _maximum(mlir: Any, traces: Sequence[Dependence | None]) -> Dependence | None:
    """With minus infinity, which changes nothing."""
    _needs("shift", *traces)
    others = [v for v, trace in zip(mlir.operands, traces, strict=True) if trace is None]
    if len(others) != 1 or splat_of(others[0]) != -np.inf:
        raise _Unknown
    return _some(traces)


def _select(mlir: Any, traces: Sequence[Dependence | None]) -> Dependence | None:
    """Products or zero are products.  Else it is followed as a value of its own, as ``m where it is
    finite``: if nothing depends on that, nothing depends on m through it."""
    _, *cases = traces
    if cases[0] == cases[1]:
        return cases[0]
    others = [v for v, one in zip(mlir.operands[1:], cases, strict=True) if one is None]
    is_scale = _some(cases).kind == "scale"
    if is_scale and len(others) == 1 and splat_of(others[0]) == 0:
        return _some(cases)
    return Dependence.start(mlir.results[0])


def _broadcast(mlir: Any, traces: Sequence[Dependence | None]) -> Dependence | None:
    targets = tuple(ir.DenseI64ArrayAttr(mlir.attributes["broadcast_dimensions"]))
    trace = _some(traces)
    return attrs.evolve(trace, dimensions=tuple(targets[d] for d in trace.dimensions))


def _reduce(mlir: Any, traces: Sequence[Dependence | None]) -> Dependence | None:
    """A sum from 0 of what is scaled alike: not along m's dimensions."""
    is_sum = len(traces) == 2 and monoid(mlir.regions[0].blocks[0]) == "add"
    reduced = tuple(ir.DenseI64ArrayAttr(mlir.attributes["dimensions"]))
    trace = _some(traces)
    _needs("scale", *traces)
    if not is_sum or splat_of(mlir.operands[1]) != 0 or {*reduced} & {*trace.dimensions}:
        raise _Unknown
    moved = tuple(d - sum(other < d for other in reduced) for d in trace.dimensions)
    return attrs.evolve(trace, dimensions=moved)


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
