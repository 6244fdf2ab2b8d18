"""Shardy's operations on one device, where all of them are the identity or their body.

Definitions: https://openxla.org/shardy/sdy_dialect.
"""

from __future__ import annotations

from typing import Any

from jaxfs.errors import Invalid
from jaxfs.stablehlo.module.walk import place

_BODIES = frozenset({"sdy.manual_computation", "sdy.named_computation"})
_RETURN = "sdy.return"
# Custom calls of files that JAX 0.5 to 0.7 wrote; hints change no number on any count of devices
HINT_TARGETS = frozenset(
    f"xla.sdy.{name}"
    for name in ("FuncResultSharding", "PropagationBarrier", "Sharding", "ShardingGroup")
)
# The other two surround a private function, the body of a shard_map
ROUND_TRIP_TARGETS = HINT_TARGETS | {"xla.sdy.GlobalToLocalShape", "xla.sdy.LocalToGlobalShape"}


def drop_shardy(operation: Any) -> None:
    """Removes one of Shardy's operations from a program of one device; its body comes first.

    Raises:
        Invalid: An array has another shape inside a ``shard_map`` than outside.
    """
    if operation.name in _BODIES:
        _inline(operation)
    elif operation.name != _RETURN:
        _forward(operation)


def _inline(operation: Any) -> None:
    """Replaces an operation by the body of its region."""
    block = operation.regions[0].blocks[0]
    *body, terminator = [child.operation for child in block.operations]
    _replace(operation, block.arguments, operation.operands)
    for child in body:
        child.move_before(operation)
    _replace(operation, operation.results, terminator.operands)
    operation.erase()


def _forward(operation: Any) -> None:
    """Replaces the results of an operation by its operands; it may have no results."""
    if len(operation.results):
        _replace(operation, operation.results, operation.operands)
    operation.erase()


def _replace(operation: Any, old: Any, new: Any) -> None:
    types, expected = [value.type for value in old], [value.type for value in new]
    if types != expected:
        found = ", ".join(map(str, types))
        raise Invalid(
            f"{place(operation)}shapes inside and outside differ ({found} for "
            f"{', '.join(map(str, expected))}), as on several devices; the mesh has one"
        )
    for before, after in zip(old, new, strict=True):
        before.replace_all_uses_with(after)
