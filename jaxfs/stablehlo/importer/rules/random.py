"""Random bits, and quantization, which is refused.

Specification: https://github.com/openxla/stablehlo/blob/main/docs/spec.md#rng_bit_generator,
#uniform_quantize, #uniform_dequantize.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jax import lax

from jaxfs.stablehlo.importer.op import Operation, Rule

_ALGORITHMS = {
    "DEFAULT": lax.RandomAlgorithm.RNG_DEFAULT,
    "THREE_FRY": lax.RandomAlgorithm.RNG_THREE_FRY,
    "PHILOX": lax.RandomAlgorithm.RNG_PHILOX,
}


def rng_bit_generator(operation: Operation, state: Any) -> Any:
    """Draws unsigned bits, which is what XLA has, and reinterprets them."""
    output = operation.result(1)
    unsigned = np.dtype(f"uint{np.dtype(output.dtype).itemsize * 8}")
    draw: Any = lax.rng_bit_generator  # has no types
    new, bits = draw(state, output.shape, unsigned, _ALGORITHMS[operation.enum("rng_algorithm")])
    return [new, lax.bitcast_convert_type(bits, output.dtype)]


def quantized(operation: Operation, x: Any) -> Any:
    """Refuses conversions to and from quantized types, which jaxlib has no dtype for.

    Raises:
        CannotImport: Always.
    """
    raise operation.unsupported("quantized types are not in this jaxlib")


RULES: dict[str, Rule] = {
    "stablehlo.rng_bit_generator": rng_bit_generator,
    "stablehlo.uniform_quantize": quantized,
    "stablehlo.uniform_dequantize": quantized,
}
