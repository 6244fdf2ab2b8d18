"""gather and scatter.

Specification: https://github.com/openxla/stablehlo/blob/main/docs/spec.md#gather, #dynamic_gather,
#scatter.  ``torch_index_select`` is of older versions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

from jaxfs.stablehlo.importer.op import Operation, Rule
from jaxfs.stablehlo.importer.opaque import import_opaque
from jaxfs.stablehlo.importer.rules.shapes import known

Scatter = Callable[..., Any]
_SCATTERS: dict[str, Scatter] = {
    "add": lax.scatter_add,
    "multiply": lax.scatter_mul,
    "minimum": lax.scatter_min,
    "maximum": lax.scatter_max,
}


def _vectors_last(indices: Any, dimension: int) -> Any:
    """Returns indices with the index vectors in the last dimension, as JAX has them."""
    if dimension == indices.ndim:
        return lax.expand_dims(indices, (indices.ndim,))
    return jnp.moveaxis(indices, dimension, -1)


def gather(operation: Operation, x: Any, indices: Any, *sizes: Any) -> Any:
    """Imports a gather; an index out of bounds is clamped."""
    n = stablehlo.GatherDimensionNumbers(operation.attribute("dimension_numbers"))
    slice_sizes = known(operation, sizes[0], "sizes") if sizes else None
    return lax.gather(
        x,
        _vectors_last(jnp.asarray(indices), n.index_vector_dim),
        lax.GatherDimensionNumbers(
            offset_dims=tuple(n.offset_dims),
            collapsed_slice_dims=tuple(n.collapsed_slice_dims),
            start_index_map=tuple(n.start_index_map),
            operand_batching_dims=tuple(n.operand_batching_dims),
            start_indices_batching_dims=_moved(n.start_indices_batching_dims, n.index_vector_dim),
        ),
        slice_sizes=slice_sizes or operation.integers("slice_sizes"),
        indices_are_sorted=operation.flag("indices_are_sorted"),
        mode=lax.GatherScatterMode.CLIP,
    )


def _moved(dimensions: Any, vector: int) -> tuple[int, ...]:
    """Returns dimensions of the indices after the vectors' one has become the last."""
    return tuple(d - (d > vector) for d in dimensions)


def scatter(operation: Operation, *operands: Any) -> Any:
    """Imports a scatter, if JAX has one that combines so; else it runs as it is."""
    count = len(operands) // 2
    arrays, indices, updates = operands[:count], operands[count], operands[count + 1 :]
    applied = [_combination(operation.block(), number, count) for number in range(count)]
    if None in applied:
        return import_opaque(operation, *operands)
    n = stablehlo.ScatterDimensionNumbers(operation.attribute("scatter_dimension_numbers"))
    numbers = lax.ScatterDimensionNumbers(
        update_window_dims=tuple(n.update_window_dims),
        inserted_window_dims=tuple(n.inserted_window_dims),
        scatter_dims_to_operand_dims=tuple(n.scattered_dims_to_operand_dims),
        operand_batching_dims=tuple(n.input_batching_dims),
        scatter_indices_batching_dims=_moved(n.scatter_indices_batching_dims, n.index_vector_dim),
    )
    vectors = _vectors_last(jnp.asarray(indices), n.index_vector_dim)
    found = [
        apply(  # type: ignore[misc]  # none is None
            jnp.asarray(x),
            vectors,
            jnp.asarray(update),
            numbers,
            indices_are_sorted=operation.flag("indices_are_sorted"),
            unique_indices=operation.flag("unique_indices"),
            mode=lax.GatherScatterMode.FILL_OR_DROP,
        )
        for apply, x, update in zip(applied, arrays, updates, strict=True)
    ]
    return found if count > 1 else found[0]


def _combination(block: Any, number: int, count: int) -> Scatter | None:
    """Returns the scatter that combines an array with its updates, None if JAX has none."""
    arguments = list(block.arguments)
    own = [arguments[number], arguments[count + number]]
    value = list(list(block.operations)[-1].operation.operands)[number]
    if value == own[1]:
        return lax.scatter
    definition = value.owner
    if isinstance(definition, ir.Block) or len(list(definition.operands)) != 2:
        return None
    name, operands = definition.name.removeprefix("stablehlo."), list(definition.operands)
    if name == "subtract" and operands == own:
        return _scatter_subtract
    is_both = all(one in operands for one in own)
    return _SCATTERS.get(name) if is_both else None


def _scatter_subtract(x: Any, indices: Any, updates: Any, *args: Any, **options: Any) -> Any:
    return lax.scatter_add(x, indices, lax.neg(updates), *args, **options)


def torch_index_select(operation: Operation, x: Any, indices: Any) -> Any:
    """Imports a gather of whole slices, in batches."""
    dimension, batches = operation.integer("dim"), operation.integer("batch_dims")

    def take(x: Any, indices: Any) -> Any:
        return jnp.take(x, indices, axis=dimension - batches, mode="clip")

    for _ in range(batches):
        take = jax.vmap(take)
    return take(x, indices)


RULES: dict[str, Rule] = {
    "stablehlo.gather": gather,
    "stablehlo.dynamic_gather": gather,
    "stablehlo.scatter": scatter,
    "stablehlo.torch_index_select": torch_index_select,
}
