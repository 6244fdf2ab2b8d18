"""Collective operations, on the single device that an imported program runs on.

Each group then is one device: nothing is gathered from others, and sums have one term.

Specification: https://github.com/openxla/stablehlo/blob/main/docs/spec.md#all_gather, #all_reduce,
#all_to_all, #collective_broadcast, #collective_permute, #partition_id, #reduce_scatter,
#replica_id.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxfs.stablehlo.importer.op import Operation, Rule
from jaxfs.stablehlo.validate.dangerous_operations import why_not_collective


def alone(operation: Operation, *operands: Any) -> Any:
    """Imports a collective of a group of one device.

    Returns:
        Its operands unchanged: a sum, gather or exchange of one part is that part.
    """
    _check_one_device(operation)
    return list(operands) if len(operands) > 1 else operands[0]


def permute(operation: Operation, x: Any) -> Any:
    """Imports a permutation of one device.

    Returns:
        The operand if the device sends to itself; zeros if no device sends to it.
    """
    _check_one_device(operation)
    return x if operation.integers("source_target_pairs") else jnp.zeros_like(x)


def first(operation: Operation) -> Any:
    """Imports the number of the only device."""
    return np.zeros((), np.uint32)


def _check_one_device(operation: Operation) -> None:
    """Checks that the groups and the types of a collective are those of one device.

    Raises:
        CannotImport: They are those of several.
    """
    reason = why_not_collective(operation.mlir, 1)
    if reason:
        raise operation.unsupported(reason)
    if [value.type for value in operation.mlir.operands] != [
        value.type for value in operation.mlir.results
    ]:
        raise operation.unsupported("it is for several devices")


RULES: dict[str, Rule] = {
    "stablehlo.all_gather": alone,
    "stablehlo.all_reduce": alone,
    "stablehlo.all_to_all": alone,
    "stablehlo.collective_broadcast": alone,
    "stablehlo.collective_reduce": alone,
    "stablehlo.cross-replica-sum": alone,
    "stablehlo.reduce_scatter": alone,
    "stablehlo.collective_permute": permute,
    "stablehlo.partition_id": first,
    "stablehlo.replica_id": first,
}
