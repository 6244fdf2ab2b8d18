"""Linear algebra, normalization, random bits."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxlib.mlir import ir

from jaxfs.stablehlo.importer.operation import Operation, imports


@imports("stablehlo.cholesky")
def cholesky(operation: Operation, a: Any) -> Any:
    if operation.flag("lower"):
        return lax.linalg.cholesky(a, symmetrize_input=False)
    turned = jnp.conj(jnp.swapaxes(a, -1, -2))
    return jnp.conj(jnp.swapaxes(lax.linalg.cholesky(turned, symmetrize_input=False), -1, -2))


@imports("stablehlo.triangular_solve")
def triangular_solve(operation: Operation, a: Any, b: Any) -> Any:
    how = operation.word("transpose_a")
    return lax.linalg.triangular_solve(
        a,
        b,
        left_side=operation.flag("left_side"),
        lower=operation.flag("lower"),
        transpose_a=how in ("TRANSPOSE", "ADJOINT"),
        conjugate_a=how == "ADJOINT",
        unit_diagonal=operation.flag("unit_diagonal"),
    )


def _features(operation: Operation, x: Any) -> tuple[float, int, tuple[int, ...], list[int]]:
    epsilon = float(ir.FloatAttr(operation.attribute("epsilon")).value)
    feature = operation.integer("feature_index")
    others = tuple(d for d in range(x.ndim) if d != feature)
    shape = [1] * x.ndim
    shape[feature] = x.shape[feature]
    return epsilon, feature, others, shape


@imports("stablehlo.batch_norm_inference")
def batch_norm_inference(
    operation: Operation, x: Any, scale: Any, offset: Any, mean: Any, variance: Any
) -> Any:
    epsilon, _, _, shape = _features(operation, x)
    scale, offset, mean, variance = (jnp.reshape(v, shape) for v in (scale, offset, mean, variance))
    return (x - mean) / jnp.sqrt(variance + epsilon) * scale + offset


@imports("stablehlo.batch_norm_training")
def batch_norm_training(operation: Operation, x: Any, scale: Any, offset: Any) -> Any:
    epsilon, _, others, shape = _features(operation, x)
    mean = jnp.mean(x, others)
    variance = jnp.mean(jnp.square(x - jnp.reshape(mean, shape)), others)
    scaled = (x - jnp.reshape(mean, shape)) / jnp.sqrt(jnp.reshape(variance, shape) + epsilon)
    return [scaled * jnp.reshape(scale, shape) + jnp.reshape(offset, shape), mean, variance]


@imports("stablehlo.batch_norm_grad")
def batch_norm_grad(
    operation: Operation, x: Any, scale: Any, mean: Any, variance: Any, gradient: Any
) -> Any:
    epsilon, feature, others, shape = _features(operation, x)
    count = x.size // x.shape[feature]
    scale_, mean_, variance_ = (jnp.reshape(v, shape) for v in (scale, mean, variance))
    centered, deviation = x - mean_, jnp.sqrt(variance_ + epsilon)
    d_offset = jnp.sum(gradient, others)
    product = jnp.sum(gradient * centered, others)
    d_scale = product / jnp.reshape(deviation, product.shape)
    part = gradient - jnp.reshape(d_offset, shape) / count
    part -= centered * jnp.reshape(product, shape) / (variance_ + epsilon) / count
    return [scale_ / deviation * part, d_scale, d_offset]


@imports("stablehlo.rng_bit_generator")
def rng_bit_generator(operation: Operation, state: Any) -> Any:
    algorithms = {
        "DEFAULT": lax.RandomAlgorithm.RNG_DEFAULT,
        "THREE_FRY": lax.RandomAlgorithm.RNG_THREE_FRY,
        "PHILOX": lax.RandomAlgorithm.RNG_PHILOX,
    }
    output = operation.result(1)
    unsigned = np.dtype(f"uint{np.dtype(output.dtype).itemsize * 8}")
    draw: Any = lax.rng_bit_generator  # has no types
    new, bits = draw(state, output.shape, unsigned, algorithms[operation.word("rng_algorithm")])
    return [new, lax.bitcast_convert_type(bits, output.dtype)]


@imports("stablehlo.uniform_quantize", "stablehlo.uniform_dequantize")
def quantized(operation: Operation, x: Any) -> Any:
    raise operation.refuse("quantized types are not in this jaxlib")
