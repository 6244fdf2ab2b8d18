"""CHLO, the client dialect: operations above StableHLO's that JAX has too.

Definitions: https://github.com/openxla/stablehlo/blob/main/stablehlo/dialect/ChloOps.td.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import chlo

from jaxfs.stablehlo.importer.constants import decode
from jaxfs.stablehlo.importer.custom_rules import next_after, zeta
from jaxfs.stablehlo.importer.op import Operation, Rule, Type, elementwise_rule
from jaxfs.stablehlo.importer.rules.convolution import precision
from jaxfs.stablehlo.importer.rules.elementwise import BINARY, COMPARISONS

_RaggedNumbers: Any = chlo.RaggedDotDimensionNumbers  # has no types
_RaggedDot: Any = lax.RaggedDotDimensionNumbers  # nor has this

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "acos": lax.acos,
    "acosh": lax.acosh,
    "asin": lax.asin,
    "asinh": lax.asinh,
    "atan": lax.atan,
    "atanh": lax.atanh,
    "bessel_i1e": lax.bessel_i1e,
    "conj": lambda x: lax.conj(x) if jnp.iscomplexobj(x) else x,
    "cosh": lax.cosh,
    "digamma": lax.digamma,
    "erf": lax.erf,
    "erf_inv": lax.erf_inv,
    "erfc": lax.erfc,
    "is_inf": jnp.isinf,
    "is_neg_inf": jnp.isneginf,
    "is_pos_inf": jnp.isposinf,
    "lgamma": lax.lgamma,
    "next_after": next_after,
    "polygamma": lax.polygamma,
    "sinh": lax.sinh,
    "square": lax.square,
    "tan": lax.tan,
    "zeta": zeta,
}
BROADCASTING: dict[str, Callable[..., Any]] = {
    **{name: BINARY[name] for name in ("add", "and", "atan2", "complex", "divide", "maximum")},
    **{name: BINARY[name] for name in ("minimum", "multiply", "or", "power", "remainder")},
    **{name: BINARY[name] for name in ("shift_left", "shift_right_arithmetic", "subtract", "xor")},
    "shift_right_logical": lax.shift_right_logical,
    "next_after": next_after,
    "polygamma": lax.polygamma,
    "zeta": zeta,
}


def _broadcast(operation: Operation, operands: tuple[Any, ...]) -> list[Any]:
    """Broadcasts as numpy does, or by ``broadcast_dimensions``, the smaller operand's."""
    arrays = [jnp.asarray(operand) for operand in operands]
    if operation.has("broadcast_dimensions") and arrays[0].ndim != arrays[1].ndim:
        dimensions = operation.integers("broadcast_dimensions")
        small = 0 if arrays[0].ndim < arrays[1].ndim else 1
        shape = [1] * arrays[1 - small].ndim
        for source, target in enumerate(dimensions):
            shape[target] = arrays[small].shape[source]
        arrays[small] = jnp.reshape(arrays[small], shape)
    return list(jnp.broadcast_arrays(*arrays))


def _broadcasting_rule(function: Callable[..., Any]) -> Rule:
    """Returns the rule that applies a function to the operands after broadcasting them.

    CHLO broadcasts implicitly; ``lax`` functions and StableHLO operations want equal shapes.
    """
    return lambda operation, *operands: function(*_broadcast(operation, operands))


def broadcast_compare(operation: Operation, x: Any, y: Any) -> Any:
    """Imports a comparison of operands that are broadcast first.

    Returns:
        Booleans of the broadcast shape.
    """
    return COMPARISONS[operation.enum("comparison_direction")](*_broadcast(operation, (x, y)))


def broadcast_select(operation: Operation, which: Any, x: Any, y: Any) -> Any:
    """Imports a selection whose three operands are broadcast as numpy does.

    Returns:
        An array of the broadcast shape: ``x`` where ``which`` is true, else ``y``.
    """
    return jnp.where(which, x, y)


def constant_like(operation: Operation, x: Any) -> Any:
    """Imports a scalar attribute as an array.

    It is parsed anew as a dense attribute of rank 0, since ``decode`` reads dense ones only.

    Returns:
        The scalar in the shape and dtype of the result, which are those of ``x``.
    """
    result = operation.result()
    scalar = str(operation.attribute("value"))
    context = operation.mlir.context
    element = scalar.partition(" : ")[2]
    text = f"dense<{scalar.partition(' : ')[0]}> : tensor<{element}>"
    value = decode(ir.Attribute.parse(text, context), Type((), result.dtype))
    return jnp.broadcast_to(value, result.shape)


def top_k(operation: Operation, x: Any) -> Any:
    """Imports the largest ``k`` elements along the last dimension.

    Returns:
        Values and their int32 indices, each [..., k], the largest first.
    """
    values, indices = lax.top_k(x, operation.integer("k"))
    return [values, indices]


def mulhi(operation: Operation, x: Any, y: Any) -> Any:
    """Imports the upper half of a product, by products of numbers of half the width."""
    unsigned = np.dtype(f"uint{x.dtype.itemsize * 8}")
    high = _unsigned_mulhi(x.astype(unsigned), y.astype(unsigned))
    if np.dtype(x.dtype).kind == "u":
        return high
    zero = jnp.zeros_like(high)
    for one, other in ((x, y), (y, x)):
        high = high - jnp.where(one < 0, other.astype(unsigned), zero)
    return high.astype(x.dtype)


def _unsigned_mulhi(x: Any, y: Any) -> Any:
    """Returns the upper half of a product of unsigned numbers.

    Each number is split into halves as in long multiplication, so that no intermediate overflows.
    """
    half = np.array(x.dtype.itemsize * 4, x.dtype)
    low = np.array((1 << int(half)) - 1, x.dtype)
    x_high, x_low, y_high, y_low = x >> half, x & low, y >> half, y & low
    middle = x_high * y_low + ((x_low * y_low) >> half)
    carried = x_low * y_high + (middle & low)
    return x_high * y_high + (middle >> half) + (carried >> half)


def scan(operation: Operation, *operands: Any) -> Any:
    """Imports a scan; its region takes a slice of each input, then the carries."""
    region, dimension = operation.region(), operation.integer("dimension")
    count, _ = operation.integers("operandSegmentSizes")
    outputs, _ = operation.integers("resultSegmentSizes")
    inputs = [jnp.moveaxis(one, dimension, 0) for one in operands[:count]]

    def step(carry: list[Any], slices: list[Any]) -> tuple[list[Any], list[Any]]:
        found = [jnp.asarray(value) for value in region(*slices, *carry)]
        return found[outputs:], found[:outputs]

    initial = [jnp.asarray(value) for value in operands[count:]]
    carry, stacked = lax.scan(step, initial, inputs, reverse=operation.flag("is_reverse"))
    found = [*(jnp.moveaxis(one, 0, dimension) for one in stacked), *carry]
    return found if len(found) > 1 else found[0]


def ragged_dot(operation: Operation, x: Any, y: Any, sizes: Any) -> Any:
    """Imports a product in which one dimension of ``x`` is cut into groups of given sizes.

    The modes of ``sizes`` are those of ``lax.ragged_dot_general``. The simplest, with one kernel
    for each group, takes ``x`` [m, k], ``y`` [groups, k, n] and ``sizes`` [groups].

    Returns:
        The product in the result's dtype, [m, n] in the simplest mode.
    """
    n = _RaggedNumbers(operation.attribute("ragged_dot_dimension_numbers"))
    contracting = (n.lhs_contracting_dimensions, n.rhs_contracting_dimensions)
    batching = (n.lhs_batching_dimensions, n.rhs_batching_dimensions)
    return lax.ragged_dot_general(
        x,
        y,
        sizes,
        _RaggedDot(
            (tuple(map(tuple, contracting)), tuple(map(tuple, batching))),
            list(n.lhs_ragged_dimensions),
            list(n.rhs_group_dimensions),
        ),
        precision=precision(operation),
        preferred_element_type=operation.result().dtype,
    )


RULES: dict[str, Rule] = {
    **{f"chlo.{name}": elementwise_rule(function) for name, function in FUNCTIONS.items()},
    **{
        f"chlo.broadcast_{name}": _broadcasting_rule(function)
        for name, function in BROADCASTING.items()
    },
    "chlo.broadcast_compare": broadcast_compare,
    "chlo.broadcast_select": broadcast_select,
    "chlo.constant_like": constant_like,
    "chlo.top_k": top_k,
    "chlo.mulhi": mulhi,
    "chlo.scan": scan,
    "chlo.ragged_dot": ragged_dot,
}
