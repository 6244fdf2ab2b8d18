"""Operations that make or move elements: constants, broadcasts, reshapes, dynamic slices.

Specification: https://github.com/openxla/stablehlo/blob/main/docs/spec.md, the sections of the
operations in ``RULES``.  A dynamic shape has to be known when the program is imported.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxfs.stablehlo.importer.constants import constant_of, decode
from jaxfs.stablehlo.importer.op import Operation, Rule, Type


def known(operation: Operation, value: Any, what: str) -> tuple[int, ...]:
    """Returns the numbers of an operand that has to be a constant.

    Args:
        operation: The operation that is imported.
        value: The operand; a constant is a numpy array, a computed value is a JAX tracer.
        what: The operand's name in the error, in the plural.

    Raises:
        CannotImport: The operand is computed, so that the result's shape is unknown.
    """
    if isinstance(value, np.ndarray):
        return tuple(int(number) for number in value.reshape(-1))
    raise operation.unsupported(f"its {what} are computed; only constants can be")


def constant(operation: Operation) -> Any:
    """Imports a constant; equal ones are read once, if their elements are not complex."""
    try:
        attribute = operation.attribute("value")
    except TypeError:
        return constant_of(operation.mlir, operation.result())
    return operation.once(attribute, _read)


def _read(attribute: Any) -> Any:
    """Returns the array of a dense attribute; ``Operation.once`` keeps it by the attribute."""
    return decode(attribute, Type.of(attribute.type))


def iota(operation: Operation, *shape: Any) -> Any:
    """Imports an array that counts up along one dimension.

    JAX has iota of integers and floats; other dtypes are converted from int32.

    Returns:
        An array of the result's shape, 0, 1, 2, ... along ``iota_dimension``.
    """
    result = operation.result()
    dimension = operation.integer("iota_dimension")
    if np.dtype(result.dtype).kind in "iuf":
        return lax.broadcasted_iota(result.dtype, result.shape, dimension)
    wide = lax.broadcasted_iota(np.int32, result.shape, dimension)
    return lax.convert_element_type(wide, result.dtype)


def broadcast_in_dim(operation: Operation, x: Any, *shape: Any) -> Any:
    """Imports a broadcast; equal ones of a constant are traced once, since each is slow in JAX."""
    target = operation.result_shape()
    key = (x.tobytes(), x.dtype, target) if type(x) is np.ndarray and not x.shape else None
    if key in operation.memo:
        return operation.memo[key]
    found = lax.broadcast_in_dim(x, target, operation.integers("broadcast_dimensions"))
    if key is not None:
        operation.memo[key] = found
    return found


def broadcast(operation: Operation, x: Any) -> Any:
    """Imports a broadcast that adds dimensions in front.

    Returns:
        An array of shape [*broadcast_sizes, *x.shape].
    """
    return lax.broadcast(x, operation.integers("broadcast_sizes"))


def reshape(operation: Operation, x: Any, *shape: Any) -> Any:
    """Imports a reshape; ``dynamic_reshape`` has its shape as another operand.

    Returns:
        The elements in row-major order, in the shape of the result.
    """
    return lax.reshape(x, operation.result_shape())


def transpose(operation: Operation, x: Any) -> Any:
    """Imports a permutation of dimensions.

    Returns:
        An array whose dimension ``d`` is the operand's dimension ``permutation[d]``.
    """
    return lax.transpose(x, operation.integers("permutation"))


def concatenate(operation: Operation, *arrays: Any) -> Any:
    """Imports a concatenation.

    Returns:
        The arrays one after another in ``dimension``; their other dimensions are equal.
    """
    return lax.concatenate([jnp.asarray(array) for array in arrays], operation.integer("dimension"))


def reverse(operation: Operation, x: Any) -> Any:
    """Imports a reversal of the order of elements.

    Returns:
        An array of the operand's shape, reversed in each of ``dimensions``.
    """
    return lax.rev(x, operation.integers("dimensions"))


def pad(operation: Operation, x: Any, value: Any) -> Any:
    """Imports a padding with a scalar, at the edges and between elements.

    Returns:
        An array whose dimension ``d`` has ``low + size + max(size - 1, 0) * interior + high``
        elements. A negative edge cuts elements off.
    """
    edges = zip(
        operation.integers("edge_padding_low"),
        operation.integers("edge_padding_high"),
        operation.integers("interior_padding"),
        strict=True,
    )
    return lax.pad(x, value, list(edges))


def dynamic_pad(operation: Operation, x: Any, value: Any, *edges: Any) -> Any:
    """Imports a padding with low edges, high edges and interior as operands.

    Raises:
        CannotImport: One of the three is computed.
    """
    low, high, interior = (known(operation, edge, "edges") for edge in edges)
    return lax.pad(x, value, list(zip(low, high, interior, strict=True)))


def real_dynamic_slice(operation: Operation, x: Any, *bounds: Any) -> Any:
    """Imports a slice with starts, limits and strides as operands.

    Raises:
        CannotImport: One of the three is computed, so that the result's shape is unknown.
    """
    start, limit, strides = (known(operation, bound, "bounds") for bound in bounds)
    return lax.slice(x, start, limit, strides)


def dynamic_slice(operation: Operation, x: Any, *start: Any) -> Any:
    """Imports a slice of constant sizes at a computed start, one scalar for each dimension.

    Returns:
        An array of shape ``slice_sizes``. A start out of range is clamped so that the slice fits;
        a negative one does not count from the end, as it would in ``lax``.
    """
    return lax.dynamic_slice(
        x, start, operation.integers("slice_sizes"), allow_negative_indices=False
    )


def dynamic_update_slice(operation: Operation, x: Any, update: Any, *start: Any) -> Any:
    """Imports the replacement of a slice at a computed start, one scalar for each dimension.

    Returns:
        An array of the shape of ``x``. A start out of range is clamped so that ``update`` fits.
    """
    return lax.dynamic_update_slice(x, update, start, allow_negative_indices=False)


def get_dimension_size(operation: Operation, x: Any) -> Any:
    """Imports the size of a dimension, which is a constant here: shapes are static.

    Returns:
        An int32 scalar in numpy, so that ``known`` accepts it.
    """
    return np.array(operation.operand().shape[operation.integer("dimension")], np.int32)


def set_dimension_size(operation: Operation, x: Any, size: Any) -> Any:
    """Imports a size that does not change.

    Raises:
        CannotImport: The size is computed, or is another one, which makes a bounded shape.
    """
    dimension = operation.integer("dimension")
    if known(operation, size, "sizes") != (x.shape[dimension],):
        raise operation.unsupported("bounded shapes are not supported")
    return x


RULES: dict[str, Rule] = {
    "stablehlo.constant": constant,
    "chlo.constant": constant,
    "stablehlo.iota": iota,
    "stablehlo.dynamic_iota": iota,
    "stablehlo.broadcast_in_dim": broadcast_in_dim,
    "stablehlo.dynamic_broadcast_in_dim": broadcast_in_dim,
    "stablehlo.broadcast": broadcast,
    "stablehlo.reshape": reshape,
    "stablehlo.dynamic_reshape": reshape,
    "stablehlo.transpose": transpose,
    "stablehlo.concatenate": concatenate,
    "stablehlo.reverse": reverse,
    "stablehlo.pad": pad,
    "stablehlo.dynamic_pad": dynamic_pad,
    "stablehlo.real_dynamic_slice": real_dynamic_slice,
    "stablehlo.dynamic_slice": dynamic_slice,
    "stablehlo.dynamic_update_slice": dynamic_update_slice,
    "stablehlo.get_dimension_size": get_dimension_size,
    "stablehlo.set_dimension_size": set_dimension_size,
}
