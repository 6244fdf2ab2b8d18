"""sort, as a primitive that holds the comparator.

JAX's sort has its own order only.  The derivative sorts an iota with the arrays, and gathers by it.

Specification: https://github.com/openxla/stablehlo/blob/main/docs/spec.md#sort.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

from jaxfs.jaxcompat import jaxprs
from jaxfs.stablehlo.importer.op import Operation, Rule
from jaxfs.stablehlo.importer.single_op_module import (
    copy_called,
    module_of,
    new_module,
    only_operation,
    text_of,
)
from jaxfs.stablehlo.module.mlir_types import tensor_type
from jaxfs.stablehlo.module.walk import functions
from jaxfs.types.avals import BY_NUMPY, Aval

sort_p = jaxprs.Primitive("imported_sort")
sort_p.multiple_results = True


def sort(operation: Operation, *operands: Any) -> Any:
    """Imports a sort of one or several arrays along a dimension."""
    arrays = [jnp.asarray(operand) for operand in operands]
    rank = arrays[0].ndim
    found = sort_p.bind(
        *arrays,
        comparator=text_of(module_of(operation.mlir)),
        dimension=operation.integer("dimension", -1) % max(rank, 1),
        is_stable=operation.flag("is_stable"),
    )
    return found if len(found) > 1 else found[0]


def _abstract(*arrays: Any, **params: Any) -> list[Any]:
    """Returns the abstract values of the outputs, which are the inputs'."""
    return [jaxprs.shaped(array.shape, array.dtype) for array in arrays]


def _module(*, comparator: str, dimension: int, is_stable: bool, avals: Any) -> str:
    """Returns the sort of these arrays; the comparator may have arguments for the first only."""
    source = ir.Module.parse(comparator)
    types = [_tensor(aval.shape, aval) for aval in avals]

    def build(arguments: list[Any]) -> Any:
        made: Any = stablehlo.SortOp(types, arguments, dimension=dimension, is_stable=is_stable)
        only_operation(source).regions[0].blocks[0].append_to(made.regions[0])
        _add_arguments(made.regions[0].blocks[0], [_tensor((), aval) for aval in avals])
        return made

    with ir.Location.unknown():
        module = new_module(types, types, build)
        copy_called(functions(source), module)
        return text_of(module)


def _add_arguments(block: Any, elements: list[Any]) -> None:
    """Adds arguments to the comparator, so that it has two for each array."""
    known = len(list(block.arguments)) // 2
    for element in elements[known:]:
        for _ in range(2):
            block.add_argument(element, ir.Location.unknown())


def _tensor(shape: Any, aval: Any) -> Any:
    return tensor_type(Aval(BY_NUMPY[np.dtype(aval.dtype)].short, tuple(shape)))


def _differentiate(primals: Any, tangents: Any, *, dimension: int, **params: Any) -> Any:
    """Sorts an iota with the arrays, and gathers the tangents by it."""
    iota = lax.broadcasted_iota(np.int32, primals[0].shape, dimension)
    *found, indices = sort_p.bind(*primals, iota, dimension=dimension, **params)
    moved = [
        tangent
        if jaxprs.is_zero(tangent)
        else jnp.take_along_axis(tangent, indices, dimension, mode="promise_in_bounds")
        for tangent in tangents
    ]
    return found, moved


def _batch(values: Any, dimensions: Any, *, dimension: int, **params: Any) -> Any:
    """Sorts a batch in one more dimension, which comes first."""
    size = next(v.shape[d] for v, d in zip(values, dimensions, strict=True) if d is not None)
    moved = [
        jnp.broadcast_to(v, (size, *v.shape)) if d is None else jnp.moveaxis(v, d, 0)
        for v, d in zip(values, dimensions, strict=True)
    ]
    return sort_p.bind(*moved, dimension=dimension + 1, **params), [0] * len(moved)


sort_p.def_abstract_eval(_abstract)
jaxprs.register(sort_p, _module, jvp=_differentiate, batching=_batch)

RULES: dict[str, Rule] = {
    "stablehlo.sort": sort,
}
