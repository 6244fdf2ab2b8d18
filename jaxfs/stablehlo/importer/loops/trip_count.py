"""Counted loops -> lax.scan.

``while i < n: ...; i += step`` with constants is a loop of known length.  As a scan it can be
differentiated backwards; and as fast as JAX's own if what it reads and writes at place i is given
to the scan as such, instead of being carried along whole:

- what the body returns as it got it is no part of the carry;
- slices at the counter of what does not change become the scan's inputs;
- updates at the counter of what is only written become its outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxfs.stablehlo.importer.constants import constant_of
from jaxfs.stablehlo.importer.loops.scan import Counter, scan
from jaxfs.stablehlo.importer.op import Operation, Type
from jaxfs.stablehlo.importer.reducers import monoid

MAX_LENGTH = 1 << 31


def bounded(operation: Operation, initial: Sequence[Any]) -> Counter | None:
    """The most turns of a loop that may end sooner: ``while not done and i < n``."""
    return _counter(operation, initial, may_end=True)


def runs_until_converged(operation: Operation) -> bool:
    """Whether a loop goes on while any element of a carry of truth values is true, as series do
    that JAX sums element by element (igamma)."""
    block = operation.block(0)
    maker = _maker(list(block.operations)[-1].operation.operands[0])
    if maker is None or maker.name != "stablehlo.reduce":
        return False
    return maker.operands[0] in list(block.arguments) and monoid(maker.regions[0].blocks[0]) == "or"


def counted(operation: Operation, initial: Sequence[Any]) -> list[Any] | None:
    """The final carry of a loop whose length is known; None for others."""
    counter = _counter(operation, initial)
    if counter is None:
        return None
    kept = _unchanged(operation)
    return scan(operation.region(1), initial, counter, kept)


def _unchanged(operation: Operation) -> frozenset[int]:
    """Carries that the body returns as it got them."""
    block = operation.block(1)
    returned = list(list(block.operations)[-1].operation.operands)
    arguments = list(block.arguments)
    return frozenset(n for n, value in enumerate(returned) if value == arguments[n])


def _counter(
    operation: Operation, initial: Sequence[Any], *, may_end: bool = False
) -> Counter | None:
    compared = _comparison(operation, may_end=may_end)
    if compared is None:
        return None
    index, limit_of, direction = compared
    limit = _limit(operation, limit_of, initial)
    step = _step(operation, index)
    start = _whole(initial[index])
    if limit is None or step is None or start is None or initial[index].shape:
        return None
    length = _length(start, limit, step, direction)
    if length is None or length > MAX_LENGTH:
        return None
    return Counter(index, start, step, length)


def _length(start: int, limit: int, step: int, direction: str) -> int | None:
    if direction in ("LT", "LE") and step > 0:
        last = limit + (direction == "LE")
        return max(0, -((start - last) // step))
    if direction in ("GT", "GE") and step < 0:
        last = limit - (direction == "GE")
        return max(0, -((last - start) // -step))
    return None


_TURNED = {"LT": "GT", "LE": "GE", "GT": "LT", "GE": "LE", "NE": "NE", "EQ": "EQ"}


def _comparison(operation: Operation, *, may_end: bool) -> tuple[int, Any, str] | None:
    """Which carry the condition compares, with what, and how."""
    block = operation.block(0)
    last = list(block.operations)[-1].operation.operands[0]
    for maker in _conditions(last) if may_end else [_maker(last)]:
        if maker is not None and maker.name == "stablehlo.compare":
            found = _compared(block, maker)
            if found is not None:
                return found
    return None


def _conditions(value: Any) -> list[Any]:
    """What all has to hold."""
    maker = _maker(value)
    if maker is None:
        return []
    if maker.name == "stablehlo.and":
        return [found for operand in maker.operands for found in _conditions(operand)]
    return _conditions(maker.operands[0]) if _is_truth_of_truth(maker) else [maker]


def _is_truth_of_truth(maker: Any) -> bool:
    """Whether it is ``convert x`` or ``x != false`` of a truth value x, as JAX writes them."""
    if str(maker.operands[0].type) != "tensor<i1>":
        return False
    if maker.name == "stablehlo.convert":
        return True
    if maker.name != "stablehlo.compare" or _direction(maker) != "NE":
        return False
    other = _maker(maker.operands[1])
    while other is not None and other.name == "stablehlo.broadcast_in_dim":
        other = _maker(other.operands[0])
    is_constant = other is not None and other.name == "stablehlo.constant"
    return is_constant and not constant_of(other, Type.of(other.results[0].type))


def _direction(comparison: Any) -> str:
    return str(comparison.attributes["comparison_direction"]).rstrip(">").split()[-1]


def _compared(block: Any, maker: Any) -> tuple[int, Any, str] | None:
    direction = _direction(maker)
    left, right = maker.operands
    arguments = list(block.arguments)
    if left in arguments and right not in arguments:
        return arguments.index(left), right, direction
    if right in arguments and left not in arguments:
        return arguments.index(right), left, _TURNED[direction]
    if left in arguments and right in arguments:
        return arguments.index(left), right, direction
    return None


def _limit(operation: Operation, value: Any, initial: Sequence[Any]) -> int | None:
    arguments = list(operation.block(0).arguments)
    if value in arguments:
        number = arguments.index(value)
        if number not in _unchanged(operation):
            return None
        return _whole(initial[number])
    maker = _maker(value)
    if maker is None or maker.name != "stablehlo.constant":
        return None
    return _constant(maker)


def _step(operation: Operation, index: int) -> int | None:
    """What the body adds to a carry, where that is an integer."""
    block = operation.block(1)
    if list(block.arguments)[index].type.shape:
        return None
    returned = list(list(block.operations)[-1].operation.operands)[index]
    maker = _maker(returned)
    if maker is None or maker.name not in ("stablehlo.add", "stablehlo.subtract"):
        return None
    counter = list(block.arguments)[index]
    left, right = maker.operands
    other = right if left == counter else left if right == counter else None
    source = _maker(other) if other is not None else None
    if source is None or source.name != "stablehlo.constant":
        return None
    step = _constant(source)
    if maker.name == "stablehlo.subtract":
        step = -step if step is not None and left == counter else None
    return step


def _maker(value: Any) -> Any:
    """The operation that makes a value, None for an argument."""
    owner = value.owner
    return getattr(owner, "operation", owner) if hasattr(owner, "results") else None


def _constant(operation: Any) -> int | None:
    return _whole(constant_of(operation, Type.of(operation.results[0].type)))


def _whole(value: Any) -> int | None:
    """A known integer; also one written as a floating-point number, as some loops count."""
    if not isinstance(value, np.ndarray) or value.size != 1 or value.dtype.kind not in "iuf":
        return None
    number = value.reshape(()).item()
    return int(number) if abs(number) < MAX_LENGTH and number == int(number) else None
