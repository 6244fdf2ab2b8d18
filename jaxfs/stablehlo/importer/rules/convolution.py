"""Products: dot, convolution, einsum, fft.

Specification: https://github.com/openxla/stablehlo/blob/main/docs/spec.md#convolution,
#dot_general, #dynamic_conv, #fft.  ``dot`` and ``einsum`` are of older versions.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

from jaxfs.stablehlo.importer.custom_rules import differentiated_by
from jaxfs.stablehlo.importer.op import Operation, Rule
from jaxfs.stablehlo.importer.opaque import import_opaque

PRECISIONS = {
    "DEFAULT": lax.Precision.DEFAULT,
    "HIGH": lax.Precision.HIGH,
    "HIGHEST": lax.Precision.HIGHEST,
}
FFTS = {name: getattr(lax.FftType, name) for name in ("FFT", "IFFT", "RFFT", "IRFFT")}


def precision(operation: Operation) -> Any:
    """Returns the precision of each of two operands.

    Returns:
        A pair of ``lax.Precision``; None, for JAX's default, if the operation has none.
    """
    key = "precision_config"
    return operation.once(operation.attribute(key), _precisions) if operation.has(key) else None


def _precisions(attribute: Any) -> Any:
    """Returns the precisions of a ``precision_config``, None if it does not have two.

    An item is read from its text, such as ``#stablehlo<precision HIGHEST>``.
    """
    texts = [str(item) for item in ir.ArrayAttr(attribute)]
    names = [text.rstrip(">").replace("<", " ").split()[-1] for text in texts]
    return tuple(PRECISIONS[name] for name in names) if len(names) == 2 else None


def dot_general(operation: Operation, x: Any, y: Any) -> Any:
    """Imports a product; one with an algorithm runs as it is, with JAX's derivative."""
    if operation.has("algorithm"):
        run = differentiated_by(
            lambda x, y: import_opaque(operation, x, y), lambda x, y: _dot_general(operation, x, y)
        )
        return run(jnp.asarray(x), jnp.asarray(y))
    return _dot_general(operation, x, y)


def _dot_general(operation: Operation, x: Any, y: Any) -> Any:
    return lax.dot_general(
        x,
        y,
        operation.once(operation.attribute("dot_dimension_numbers"), _dimensions),
        precision=precision(operation),
        preferred_element_type=operation.result().dtype,
    )


def _dimensions(attribute: Any) -> Any:
    """Returns the dimension numbers as JAX has them: contracting, then batching."""
    n = stablehlo.DotDimensionNumbers(attribute)
    return (
        (tuple(n.lhs_contracting_dimensions), tuple(n.rhs_contracting_dimensions)),
        (tuple(n.lhs_batching_dimensions), tuple(n.rhs_batching_dimensions)),
    )


def dot(operation: Operation, x: Any, y: Any) -> Any:
    """Imports a product of the last dimension of ``x`` with the first of ``y``.

    Returns:
        The product in the dtype of the result, [m, n] for [m, k] and [k, n]; vectors lack m or n.
    """
    contract = (((x.ndim - 1,), (0,)), ((), ()))
    return lax.dot_general(
        x,
        y,
        contract,
        precision=precision(operation),
        preferred_element_type=operation.result().dtype,
    )


def einsum(operation: Operation, *operands: Any) -> Any:
    """Imports an einsum, which older versions of StableHLO have, by numpy's notation.

    Returns:
        The product in the dtype of the result; ``jnp.einsum`` alone takes it from the operands.
    """
    found = jnp.einsum(operation.string("einsum_config"), *operands)
    return lax.convert_element_type(found, operation.result().dtype)


def convolution(operation: Operation, x: Any, kernel: Any, *padding: Any) -> Any:
    """Imports a convolution; a dynamic padding has to be constant."""
    n = stablehlo.ConvDimensionNumbers(operation.attribute("dimension_numbers"))
    spatial = tuple(n.kernel_spatial_dimensions)
    count = len(spatial)
    reversal = operation.booleans("window_reversal", count)
    reversed_ = tuple(d for d, is_reversed in zip(spatial, reversal, strict=True) if is_reversed)
    edges: Any = operation.pairs("padding", count)
    if padding:
        if not isinstance(padding[0], np.ndarray):
            raise operation.unsupported("its padding is computed; only constants can be")
        edges = [tuple(int(n) for n in pair) for pair in padding[0]]
    return lax.conv_general_dilated(
        x,
        lax.rev(kernel, reversed_) if reversed_ else kernel,
        window_strides=operation.integers("window_strides", (1,) * count),
        padding=edges,
        lhs_dilation=operation.integers("lhs_dilation", (1,) * count),
        rhs_dilation=operation.integers("rhs_dilation", (1,) * count),
        dimension_numbers=lax.ConvDimensionNumbers(
            (n.input_batch_dimension, n.input_feature_dimension, *n.input_spatial_dimensions),
            (n.kernel_output_feature_dimension, n.kernel_input_feature_dimension, *spatial),
            (n.output_batch_dimension, n.output_feature_dimension, *n.output_spatial_dimensions),
        ),
        feature_group_count=operation.integer("feature_group_count", 1),
        batch_group_count=operation.integer("batch_group_count", 1),
        precision=precision(operation),
        preferred_element_type=operation.result().dtype,
    )


def fft(operation: Operation, x: Any) -> Any:
    """Imports a discrete Fourier transform over the last ``len(fft_length)`` dimensions.

    Returns:
        For FFT and IFFT an array of the operand's shape; the last dimension becomes n // 2 + 1
        for RFFT, and the last number of ``fft_length`` for IRFFT.
    """
    return lax.fft(x, FFTS[operation.enum("fft_type")], operation.integers("fft_length"))


RULES: dict[str, Rule] = {
    "stablehlo.dot_general": dot_general,
    "stablehlo.dot": dot,
    "stablehlo.einsum": einsum,
    "stablehlo.unary_einsum": einsum,
    "stablehlo.convolution": convolution,
    "stablehlo.dynamic_conv": convolution,
    "stablehlo.fft": fft,
}
