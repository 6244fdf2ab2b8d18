"""What several devices do together, on the one device that a program here runs on.

Each group of devices is then one device: nothing is gathered from others, and sums have one term.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxfs.stablehlo.importer.op import Operation, imports
from jaxfs.stablehlo.validate.operations import why_not_collective


@imports(
    "stablehlo.all_gather",
    "stablehlo.all_reduce",
    "stablehlo.all_to_all",
    "stablehlo.collective_broadcast",
    "stablehlo.collective_reduce",
    "stablehlo.cross-replica-sum",
    "stablehlo.reduce_scatter",
)
def alone(operation: Operation, *operands: Any) -> Any:
    _check_one_device(operation)
    return list(operands) if len(operands) > 1 else operands[0]


@imports("stablehlo.collective_permute")
def permute(operation: Operation, x: Any) -> Any:
    """Who is nobody's target gets zeros."""
    _check_one_device(operation)
    return x if operation.integers("source_target_pairs") else jnp.zeros_like(x)


@imports("stablehlo.partition_id", "stablehlo.replica_id")
def first(operation: Operation) -> Any:
    return np.zeros((), np.uint32)


def _check_one_device(operation: Operation) -> None:
    reason = why_not_collective(operation.mlir, 1)
    if reason:
        raise operation.refuse(reason)
    if [value.type for value in operation.mlir.operands] != [
        value.type for value in operation.mlir.results
    ]:
        raise operation.refuse("it is for several devices")
