"""sort: by the first operand where that is all the comparator looks at, else by a permutation that
the comparator makes.

A sort with an unusual comparator runs as it is on its keys and an iota (``opaque``); what it sorts
is then gathered by the iota, which can be differentiated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from jaxfs.stablehlo.importer.opaque import sort_permutation
from jaxfs.stablehlo.importer.operation import Operation, imports
from jaxfs.stablehlo.importer.reductions import sole_operation


@imports("stablehlo.sort")
def sort(operation: Operation, *operands: Any) -> Any:
    arrays = [jnp.asarray(operand) for operand in operands]
    dimension = operation.integer("dimension", -1) % arrays[0].ndim
    order = _order(operation)
    if order == "LT" and arrays[0].dtype.kind in "iub":
        found = lax.sort(
            tuple(arrays), dimension=dimension, is_stable=operation.flag("is_stable"), num_keys=1
        )
        return list(found) if len(arrays) > 1 else found[0]
    places = sort_permutation(operation, arrays, dimension)
    return gathered(arrays, places, dimension)


def gathered(arrays: Sequence[Any], places: Any, dimension: int) -> Any:
    found = [jnp.take_along_axis(array, places, dimension) for array in arrays]
    return found if len(found) > 1 else found[0]


def _order(operation: Operation) -> str | None:
    """``LT`` where the comparator compares the first operand's elements and nothing else."""
    found = sole_operation(operation.block())
    if found is None or found[0] != "compare" or found[1] != [0, 1]:
        return None
    comparison = next(iter(operation.block().operations)).operation
    return str(comparison.attributes["comparison_direction"]).rstrip(">").split()[-1]
