"""Batch normalization.

Specification: https://github.com/openxla/stablehlo/blob/main/docs/spec.md#batch_norm_inference,
#batch_norm_training, #batch_norm_grad.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxlib.mlir import ir

from jaxfs.stablehlo.importer.op import Operation, Rule


def _features(operation: Operation, x: Any) -> tuple[float, int, tuple[int, ...], list[int]]:
    """Returns epsilon, the feature dimension, all others, and the shape of broadcast features."""
    epsilon = float(ir.FloatAttr(operation.attribute("epsilon")).value)
    feature = operation.integer("feature_index")
    others = tuple(d for d in range(x.ndim) if d != feature)
    shape = [1] * x.ndim
    shape[feature] = x.shape[feature]
    return epsilon, feature, others, shape


def batch_norm_inference(
    operation: Operation, x: Any, scale: Any, offset: Any, mean: Any, variance: Any
) -> Any:
    """Imports a normalization by given statistics; all but ``x`` are [features].

    Returns:
        An array of the shape of ``x``: (x - mean) / sqrt(variance + epsilon) * scale + offset.
    """
    epsilon, _, _, shape = _features(operation, x)
    scale, offset, mean, variance = (jnp.reshape(v, shape) for v in (scale, offset, mean, variance))
    return (x - mean) / jnp.sqrt(variance + epsilon) * scale + offset


def batch_norm_training(operation: Operation, x: Any, scale: Any, offset: Any) -> Any:
    """Imports a normalization by the statistics of ``x`` itself; the others are [features].

    Returns:
        The normalized array, of the shape of ``x``; mean and (biased) variance, [features].
    """
    epsilon, _, others, shape = _features(operation, x)
    mean = jnp.mean(x, others)
    variance = jnp.mean(jnp.square(x - jnp.reshape(mean, shape)), others)
    scaled = (x - jnp.reshape(mean, shape)) / jnp.sqrt(jnp.reshape(variance, shape) + epsilon)
    return [scaled * jnp.reshape(scale, shape) + jnp.reshape(offset, shape), mean, variance]


def batch_norm_grad(
    operation: Operation, x: Any, scale: Any, mean: Any, variance: Any, gradient: Any
) -> Any:
    """Imports the gradient of ``batch_norm_training``; ``gradient`` has the shape of ``x``.

    Returns:
        The gradients by ``x``, of its shape, and by scale and offset, [features].
    """
    epsilon, feature, others, shape = _features(operation, x)
    count = x.size // x.shape[feature]
    scale_, mean_, variance_ = (jnp.reshape(v, shape) for v in (scale, mean, variance))
    centered, deviation = x - mean_, jnp.sqrt(variance_ + epsilon)
    d_offset = jnp.sum(gradient, others)
    product = jnp.sum(gradient * centered, others)
    d_scale = product / jnp.reshape(deviation, product.shape)
    d_centered = gradient - jnp.reshape(d_offset, shape) / count
    d_centered -= centered * jnp.reshape(product, shape) / (variance_ + epsilon) / count
    return [scale_ / deviation * d_centered, d_scale, d_offset]


RULES: dict[str, Rule] = {
    "stablehlo.batch_norm_inference": batch_norm_inference,
    "stablehlo.batch_norm_training": batch_norm_training,
    "stablehlo.batch_norm_grad": batch_norm_grad,
}
