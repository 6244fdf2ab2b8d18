"""The trip counts of loops, found in their conditions and bodies.

``while i < n: ...; i += step`` with constants has a known trip count.  As a scan it has reverse
mode, and is as fast as JAX's own if its arrays are not all carried along whole:

- what the body returns unchanged is no carry of the scan;
- rows at the counter of arrays that do not change are the scan's inputs;
- rows at the counter of arrays that are only written are its outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxfs.stablehlo.importer.constants import constant_of
from jaxfs.stablehlo.importer.loops.induction import integer_range
from jaxfs.stablehlo.importer.loops.scan import LoopCounter, scan
from jaxfs.stablehlo.importer.op import Operation, Type
from jaxfs.stablehlo.importer.reducers import monoid

MAX_TRIP_COUNT = 1 << 31
MAX_WRAPS = 1 << 12  # of a counter around its type's range


def find_bound(operation: Operation, initial: Sequence[Any]) -> LoopCounter | None:
    """Returns the counter of a loop that may end sooner, ``while not done and i < n``."""
    return _counter(operation, initial, may_end_early=True)


def runs_until_converged(operation: Operation) -> bool:
    """Returns whether a loop runs while any element of a boolean carry is true.

    Series that JAX sums element by element, as igamma's, are such loops.
    """
    block = operation.block(0)
    definition = _defining_operation(list(block.operations)[-1].operation.operands[0])
    if definition is None or definition.name != "stablehlo.reduce":
        return False
    return (
        definition.operands[0] in list(block.arguments)
        and monoid(definition.regions[0].blocks[0]) == "or"
    )


def scan_counted(operation: Operation, initial: Sequence[Any]) -> list[Any] | None:
    """Returns the final carries of a loop with a known trip count, None for other loops.

    Args:
        operation: The ``stablehlo.while``.
        initial: The carries before the first iteration.
    """
    counter = _counter(operation, initial)
    if counter is None:
        return None
    return scan(operation.region(1), initial, counter, _unchanged(operation))


def _unchanged(operation: Operation) -> frozenset[int]:
    """Returns the numbers of the carries that the body returns unchanged."""
    block = operation.block(1)
    returned = list(list(block.operations)[-1].operation.operands)
    arguments = list(block.arguments)
    return frozenset(n for n, value in enumerate(returned) if value == arguments[n])


def _counter(
    operation: Operation, initial: Sequence[Any], *, may_end_early: bool = False
) -> LoopCounter | None:
    comparison = _comparison(operation, may_end_early=may_end_early)
    if comparison is None:
        return None
    carry, limit_value, direction = comparison
    limit = _limit(operation, limit_value, initial)
    step = _step(operation, carry)
    start = _integer(initial[carry])
    if limit is None or step is None or start is None or initial[carry].shape:
        return None
    trip_count = _trip_count(start, limit, step, direction, initial[carry].dtype)
    if trip_count is None or trip_count > MAX_TRIP_COUNT:
        return None
    return LoopCounter(carry, start, step, trip_count)


def _trip_count(start: int, limit: int, step: int, direction: str, dtype: Any) -> int | None:
    """Returns how often ``while i DIRECTION limit: i += step`` runs; None for other directions.

    An integer that leaves its type's range wraps around, and goes on.  A floating-point number
    beyond the integers that it counts one by one makes the trip count unknown.
    """
    low, high = integer_range(dtype)
    if direction in ("GT", "GE"):
        low, high, start, limit, step = -high, -low, -start, -limit, -step
    kind = np.dtype(dtype).kind
    if direction in ("EQ", "NE") or step <= 0 or (kind == "f" and start < low):
        return None
    return _upwards(start, limit + direction.endswith("E"), step, (low, high), kind)


def _upwards(start: int, end: int, step: int, span: tuple[int, int], kind: str) -> int | None:
    """Returns how often ``while i < end: i += step`` runs, None if unknown or without an end."""
    low, high = span
    trip_count, value = 0, start
    for _ in range(MAX_WRAPS):
        steps = max(0, -((value - end) // step))
        trip_count, value = trip_count + steps, value + steps * step
        if value <= high or not steps:
            return trip_count
        if kind == "f":
            return None
        value -= high - low + 1
    return None


_MIRRORED = {"LT": "GT", "LE": "GE", "GT": "LT", "GE": "LE", "NE": "NE", "EQ": "EQ"}


def _comparison(operation: Operation, *, may_end_early: bool) -> tuple[int, Any, str] | None:
    """Returns the number of the carry that the condition compares, its limit, and the direction."""
    block = operation.block(0)
    last = list(block.operations)[-1].operation.operands[0]
    for definition in _conjuncts(last) if may_end_early else [_defining_operation(last)]:
        if definition is not None and definition.name == "stablehlo.compare":
            found = _compared(block, definition)
            if found is not None:
                return found
    return None


def _conjuncts(value: Any) -> list[Any]:
    """Returns the operations that make the terms of a conjunction."""
    definition = _defining_operation(value)
    if definition is None:
        return []
    if definition.name == "stablehlo.and":
        return [found for operand in definition.operands for found in _conjuncts(operand)]
    return _conjuncts(definition.operands[0]) if _is_boolean_identity(definition) else [definition]


def _is_boolean_identity(definition: Any) -> bool:
    """Returns whether it is ``convert x`` or ``x != false`` of a boolean x; JAX writes such."""
    if str(definition.operands[0].type) != "tensor<i1>":
        return False
    if definition.name == "stablehlo.convert":
        return True
    if definition.name != "stablehlo.compare" or _direction(definition) != "NE":
        return False
    other = _defining_operation(definition.operands[1])
    while other is not None and other.name == "stablehlo.broadcast_in_dim":
        other = _defining_operation(other.operands[0])
    is_constant = other is not None and other.name == "stablehlo.constant"
    return is_constant and not constant_of(other, Type.of(other.results[0].type))


def _direction(comparison: Any) -> str:
    """Returns ``LT`` of ``#stablehlo<comparison_direction LT>``."""
    return str(comparison.attributes["comparison_direction"]).rstrip(">").split()[-1]


def _compared(block: Any, definition: Any) -> tuple[int, Any, str] | None:
    """Returns what ``_comparison`` does of one comparison, with the carry on the left."""
    direction = _direction(definition)
    left, right = definition.operands
    arguments = list(block.arguments)
    if left in arguments and right not in arguments:
        return arguments.index(left), right, direction
    if right in arguments and left not in arguments:
        return arguments.index(right), left, _MIRRORED[direction]
    if left in arguments and right in arguments:
        return arguments.index(left), right, direction
    return None


def _limit(operation: Operation, value: Any, initial: Sequence[Any]) -> int | None:
    """Returns the limit if it is a constant, or a carry that does not change."""
    arguments = list(operation.block(0).arguments)
    if value in arguments:
        number = arguments.index(value)
        if number not in _unchanged(operation):
            return None
        return _integer(initial[number])
    definition = _defining_operation(value)
    if definition is None or definition.name != "stablehlo.constant":
        return None
    return _constant(definition)


def _step(operation: Operation, carry: int) -> int | None:
    """Returns the integer that the body adds to a carry, None if it does something else."""
    block = operation.block(1)
    if list(block.arguments)[carry].type.shape:
        return None
    returned = list(list(block.operations)[-1].operation.operands)[carry]
    definition = _defining_operation(returned)
    if definition is None or definition.name not in ("stablehlo.add", "stablehlo.subtract"):
        return None
    counter = list(block.arguments)[carry]
    left, right = definition.operands
    other = right if left == counter else left if right == counter else None
    source = _defining_operation(other) if other is not None else None
    if source is None or source.name != "stablehlo.constant":
        return None
    step = _constant(source)
    if definition.name == "stablehlo.subtract":
        step = -step if step is not None and left == counter else None
    return step


def _defining_operation(value: Any) -> Any:
    """Returns the operation that makes a value, None for an argument of a block."""
    owner = value.owner
    return getattr(owner, "operation", owner) if hasattr(owner, "results") else None


def _constant(operation: Any) -> int | None:
    return _integer(constant_of(operation, Type.of(operation.results[0].type)))


def _integer(value: Any) -> int | None:
    """Returns a known integer; some loops count in floating-point numbers."""
    if not isinstance(value, np.ndarray) or value.size != 1 or value.dtype.kind not in "iuf":
        return None
    number = value.reshape(()).item()
    return int(number) if abs(number) < MAX_TRIP_COUNT and number == int(number) else None
