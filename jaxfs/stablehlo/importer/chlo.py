"""The client dialect: operations that StableHLO's are made of, and that JAX has too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax

from jaxfs.stablehlo.importer.constants import decode
from jaxfs.stablehlo.importer.elementwise import BINARY, COMPARISONS
from jaxfs.stablehlo.importer.operation import TABLE, Operation, Type, imports

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "acos": lax.acos,
    "acosh": lax.acosh,
    "asin": lax.asin,
    "asinh": lax.asinh,
    "atan": lax.atan,
    "atanh": lax.atanh,
    "bessel_i1e": lax.bessel_i1e,
    "conj": lax.conj,
    "cosh": lax.cosh,
    "digamma": lax.digamma,
    "erf": lax.erf,
    "erf_inv": lax.erf_inv,
    "erfc": lax.erfc,
    "is_inf": jnp.isinf,
    "is_neg_inf": jnp.isneginf,
    "is_pos_inf": jnp.isposinf,
    "lgamma": lax.lgamma,
    "next_after": lax.nextafter,
    "polygamma": lax.polygamma,
    "sinh": lax.sinh,
    "square": lax.square,
    "tan": lax.tan,
    "zeta": lax.zeta,
}
BROADCASTING: dict[str, Callable[..., Any]] = {
    **{name: BINARY[name] for name in ("add", "and", "atan2", "complex", "divide", "maximum")},
    **{name: BINARY[name] for name in ("minimum", "multiply", "or", "power", "remainder")},
    **{name: BINARY[name] for name in ("shift_left", "shift_right_arithmetic", "subtract", "xor")},
    "shift_right_logical": lax.shift_right_logical,
    "next_after": lax.nextafter,
    "polygamma": lax.polygamma,
    "zeta": lax.zeta,
}


def _enter(name: str, function: Callable[..., Any]) -> None:
    TABLE[f"chlo.{name}"] = lambda operation, *operands: function(*operands)


for _name, _function in FUNCTIONS.items():
    _enter(_name, _function)


def _broadcast(operation: Operation, operands: tuple[Any, ...]) -> list[Any]:
    """As numpy does it, unless the smaller operand's dimensions are named."""
    arrays = [jnp.asarray(operand) for operand in operands]
    if operation.has("broadcast_dimensions") and arrays[0].ndim != arrays[1].ndim:
        dimensions = operation.integers("broadcast_dimensions")
        small = 0 if arrays[0].ndim < arrays[1].ndim else 1
        shape = [1] * arrays[1 - small].ndim
        for source, target in enumerate(dimensions):
            shape[target] = arrays[small].shape[source]
        arrays[small] = jnp.reshape(arrays[small], shape)
    return list(jnp.broadcast_arrays(*arrays))


def _enter_broadcasting(name: str, function: Callable[..., Any]) -> None:
    TABLE[f"chlo.broadcast_{name}"] = lambda operation, *operands: function(
        *_broadcast(operation, operands)
    )


for _name, _function in BROADCASTING.items():
    _enter_broadcasting(_name, _function)


@imports("chlo.broadcast_compare")
def broadcast_compare(operation: Operation, x: Any, y: Any) -> Any:
    return COMPARISONS[operation.word("comparison_direction")](*_broadcast(operation, (x, y)))


@imports("chlo.broadcast_select")
def broadcast_select(operation: Operation, which: Any, x: Any, y: Any) -> Any:
    return jnp.where(which, x, y)


@imports("chlo.constant_like")
def constant_like(operation: Operation, x: Any) -> Any:
    from jaxlib.mlir import ir

    result = operation.result()
    scalar = str(operation.attribute("value"))
    context = operation.mlir.context
    element = scalar.partition(" : ")[2]
    text = f"dense<{scalar.partition(' : ')[0]}> : tensor<{element}>"
    value = decode(ir.Attribute.parse(text, context), Type((), result.dtype))
    return jnp.broadcast_to(value, result.shape)


@imports("chlo.top_k")
def top_k(operation: Operation, x: Any) -> Any:
    values, places = lax.top_k(x, operation.integer("k"))
    return [values, places]


@imports("chlo._asin_acos_kernel")
def asin_acos_kernel(operation: Operation, x: Any) -> Any:
    raise operation.refuse("it is a part of asin and acos and means nothing alone")


@imports("chlo.mulhi")
def mulhi(operation: Operation, x: Any, y: Any) -> Any:
    """The upper half of the product."""
    bits = x.dtype.itemsize * 8
    if bits > 32:
        raise operation.refuse("the product of 64-bit integers has no wider type")
    wide = jnp.int64 if jnp.issubdtype(x.dtype, jnp.signedinteger) else jnp.uint64
    product = x.astype(wide) * y.astype(wide)
    return lax.shift_right_arithmetic(product, jnp.asarray(bits, wide)).astype(x.dtype)


@imports("chlo.ragged_dot")
def ragged_dot(operation: Operation, x: Any, y: Any, sizes: Any) -> Any:
    return lax.ragged_dot(x, y, sizes, preferred_element_type=operation.result().dtype)
