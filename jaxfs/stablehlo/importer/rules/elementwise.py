"""Operations on each element by itself.

Specification: https://github.com/openxla/stablehlo/blob/main/docs/spec.md, the sections of the
operations in ``UNARY``, ``BINARY`` and ``RULES``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxfs.stablehlo.importer.op import Operation, Rule, elementwise_rule


def _cbrt(x: Any) -> Any:
    """Returns the cubic root, of a complex number the principal one, which JAX lacks."""
    return lax.pow(x, jnp.full_like(x, 1 / 3)) if jnp.iscomplexobj(x) else lax.cbrt(x)


UNARY: dict[str, Callable[[Any], Any]] = {
    "abs": lax.abs,
    "cbrt": _cbrt,
    "ceil": lax.ceil,
    "cosine": lax.cos,
    "count_leading_zeros": lax.clz,
    "exponential": lax.exp,
    "exponential_minus_one": lax.expm1,
    "floor": lax.floor,
    "is_finite": lax.is_finite,
    "log": lax.log,
    "log_plus_one": lax.log1p,
    "logistic": lax.logistic,
    "negate": lax.neg,
    "not": lax.bitwise_not,
    "popcnt": lax.population_count,
    "round_nearest_afz": lambda x: lax.round(x, lax.RoundingMethod.AWAY_FROM_ZERO),
    "round_nearest_even": lambda x: lax.round(x, lax.RoundingMethod.TO_NEAREST_EVEN),
    "rsqrt": lax.rsqrt,
    "sign": lax.sign,
    "sine": lax.sin,
    "sqrt": lax.sqrt,
    "tan": lax.tan,
    "tanh": lax.tanh,
}


def _or_for_bool(number: Callable[..., Any], logical: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function that is ``logical`` for booleans and ``number`` for all other dtypes.

    StableHLO adds and multiplies booleans (as or, and); JAX refuses to.
    """
    return lambda x, y: (logical if np.dtype(x.dtype) == np.bool_ else number)(x, y)


BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": _or_for_bool(lax.add, lax.bitwise_or),
    "and": lax.bitwise_and,
    "atan2": lax.atan2,
    "complex": lax.complex,
    "divide": lax.div,
    "maximum": lax.max,
    "minimum": lax.min,
    "multiply": _or_for_bool(lax.mul, lax.bitwise_and),
    "or": lax.bitwise_or,
    "power": lax.pow,
    "remainder": lax.rem,
    "shift_left": lax.shift_left,
    "shift_right_arithmetic": lax.shift_right_arithmetic,
    "shift_right_logical": lax.shift_right_logical,
    "subtract": lax.sub,
    "xor": lax.bitwise_xor,
}


def real(operation: Operation, x: Any) -> Any:
    """Imports the real part; a real number is its own.

    Returns:
        An array of the operand's shape; its dtype is float32 for complex64, float64 for complex128.
    """
    return lax.real(x) if jnp.iscomplexobj(x) else x


def imag(operation: Operation, x: Any) -> Any:
    """Imports the imaginary part; that of a real number is zero.

    Returns:
        An array of the operand's shape; its dtype is float32 for complex64, float64 for complex128.
    """
    return lax.imag(x) if jnp.iscomplexobj(x) else jnp.zeros_like(x)


def convert(operation: Operation, x: Any) -> Any:
    """Imports a conversion.

    Returns:
        An array of the result's dtype; from complex to real it is the real part, as in XLA.
    """
    dtype = operation.result().dtype
    if jnp.iscomplexobj(x) and not jnp.issubdtype(dtype, jnp.complexfloating):
        x = lax.real(x)
    return lax.convert_element_type(x, dtype)


def bitcast_convert(operation: Operation, x: Any) -> Any:
    """Imports a reinterpretation of bits.

    Returns:
        An array of the result's dtype. A narrower one adds a last dimension, the ratio of the
        widths; a wider one takes the last dimension away.
    """
    return lax.bitcast_convert_type(x, operation.result().dtype)


def reduce_precision(operation: Operation, x: Any) -> Any:
    """Imports a rounding to fewer bits of exponent and mantissa.

    Returns:
        An array of the operand's shape and dtype.
    """
    exponent, mantissa = operation.integer("exponent_bits"), operation.integer("mantissa_bits")
    return lax.reduce_precision(x, exponent, mantissa)


COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "EQ": lax.eq,
    "NE": lax.ne,
    "LT": lax.lt,
    "LE": lax.le,
    "GT": lax.gt,
    "GE": lax.ge,
}


def total_order(x: Any) -> Any:
    """Returns integers in the order of IEEE 754's totalOrder of the numbers: -NaN < ... < NaN.

    The bits of positive floats are in order as they are; those of negative ones in reverse order.
    """
    bits = np.dtype(x.dtype).itemsize * 8
    signed = lax.bitcast_convert_type(x, np.dtype(f"int{bits}"))
    largest = np.array((1 << (bits - 1)) - 1, signed.dtype)
    return jnp.where(signed < 0, lax.bitwise_xor(signed, largest), signed)


def compare(operation: Operation, x: Any, y: Any) -> Any:
    """Imports a comparison, by value or by IEEE 754's totalOrder.

    Returns:
        Booleans of the operands' shape.
    """
    if operation.enum("compare_type") == "TOTALORDER" and jnp.issubdtype(x.dtype, jnp.floating):
        x, y = total_order(lax.stop_gradient(x)), total_order(lax.stop_gradient(y))
    return COMPARISONS[operation.enum("comparison_direction")](x, y)


def select(operation: Operation, which: Any, x: Any, y: Any) -> Any:
    """Imports a selection by element.

    Returns:
        ``x`` where ``which`` is true, else ``y``. ``which`` may be a scalar for the whole array.
    """
    return lax.select(jnp.asarray(which), jnp.asarray(x), jnp.asarray(y))


def clamp(operation: Operation, low: Any, x: Any, high: Any) -> Any:
    """Imports a clamp; JAX differentiates it by bounds only if they have the operand's shape."""
    shape = operation.result().shape
    low, high = (
        one if isinstance(one, np.ndarray) else jnp.broadcast_to(one, shape) for one in (low, high)
    )
    return lax.clamp(low, x, high)


def map_elements(operation: Operation, *operands: Any) -> Any:
    """Imports a map; its region is a function of scalars.

    Returns:
        An array of the operands' shape. ``dimensions`` names all of them, in order, so that it
        changes nothing.
    """
    region = operation.region()
    flat = [jnp.ravel(operand) for operand in operands]
    found = jax.vmap(lambda *scalars: region(*scalars)[0])(*flat)
    return jnp.reshape(found, operation.result().shape)


RULES: dict[str, Rule] = {
    **{f"stablehlo.{name}": elementwise_rule(function) for name, function in UNARY.items()},
    **{
        f"stablehlo.{name}": elementwise_rule(function)
        for name, function in BINARY.items()
        if name != "divide"  # see rewrites/sigmoid.py
    },
    "stablehlo.real": real,
    "stablehlo.imag": imag,
    "stablehlo.convert": convert,
    "stablehlo.bitcast_convert": bitcast_convert,
    "stablehlo.reduce_precision": reduce_precision,
    "stablehlo.compare": compare,
    "stablehlo.select": select,
    "stablehlo.clamp": clamp,
    "stablehlo.map": map_elements,
}
