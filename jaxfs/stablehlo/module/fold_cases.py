"""Replacement of ``case`` operations with a constant index by the branch that they take.

jax.export writes a program for several platforms with a ``case`` over the platform's index; with
the index known, one platform's program is left.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from jaxlib.mlir import ir

from jaxfs.stablehlo.module.canonicalize import run_passes
from jaxfs.stablehlo.module.entry_function import constant_at_start
from jaxfs.stablehlo.module.walk import functions, operations

_INDEX_TYPES = ("i32", "i64")


def fold_constant_cases(module: Any) -> None:
    """Replaces each ``case`` whose index is constant, also through calls, by its branch."""
    while _propagate_into_functions(module):
        pass
    _fold(module)
    run_passes(module, "canonicalize,symbol-dce")


def _propagate_into_functions(module: Any) -> bool:
    """Replaces arguments that are the same constant in all calls; returns whether it did."""
    calls = defaultdict(list)
    for operation, _ in operations(module.operation):
        if operation.name == "func.call":
            calls[operation.attributes["callee"].value].append(operation)
    found = functions(module)
    return any([_propagate(found[name], its) for name, its in calls.items()])  # noqa: C419 all


def _propagate(function: Any, calls: list[Any]) -> bool:
    block, changed = function.regions[0].blocks[0], False
    for i, argument in enumerate(block.arguments):
        value, *others = {_constant(call.operands[i]) for call in calls}
        if value is not None and not others and any(True for _ in argument.uses):
            argument.replace_all_uses_with(constant_at_start(block, argument.type, value))
            changed = True
    return changed


def _fold(module: Any) -> None:
    waiting = _children(module.operation)
    while waiting:
        operation = waiting.pop()
        index = _constant(operation.operands[0]) if operation.name == "stablehlo.case" else None
        below = _children(operation) if index is None else _take_branch(operation, index)
        waiting.extend(below)


def _children(operation: Any) -> list[Any]:
    """Returns the operations directly below, in reverse order, as a stack takes them."""
    blocks = [block for region in operation.regions for block in region.blocks]
    return [child.operation for block in blocks for child in block.operations][::-1]


def _constant(value: Any) -> int | None:
    """Returns the integer that a value is, if that is a constant scalar or its conversion."""
    owner = value.owner  # an operation, or for an argument its block
    name = getattr(owner, "name", None)
    if name == "stablehlo.convert":
        return _constant(owner.operands[0])
    if name != "stablehlo.constant" or value.type.shape:
        return None
    if str(value.type.element_type) not in _INDEX_TYPES:
        return None
    return int(ir.DenseIntElementsAttr(owner.attributes["value"])[0])


def _take_branch(case: Any, index: int) -> list[Any]:
    """Replaces a ``case`` by a branch; returns the branch's operations, in reverse order."""
    # an index out of range takes the last branch:
    # https://github.com/openxla/stablehlo/blob/main/docs/spec.md#case
    in_range = 0 <= index < len(case.regions)
    block = case.regions[index if in_range else -1].blocks[0]
    *body, terminator = [operation.operation for operation in block.operations]
    for operation in body:
        operation.move_before(case)
    for result, value in zip(case.results, terminator.operands, strict=True):
        result.replace_all_uses_with(value)
    case.erase()
    return body[::-1]
