"""Random bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from jax import lax

from jaxfs.stablehlo.importer.op import Operation, Rule


def rng_bit_generator(operation: Operation, state: Any) -> Any:
    algorithms = {
        "DEFAULT": lax.RandomAlgorithm.RNG_DEFAULT,
        "THREE_FRY": lax.RandomAlgorithm.RNG_THREE_FRY,
        "PHILOX": lax.RandomAlgorithm.RNG_PHILOX,
    }
    output = operation.result(1)
    unsigned = np.dtype(f"uint{np.dtype(output.dtype).itemsize * 8}")
    draw: Any = lax.rng_bit_generator  # has no types
    new, bits = draw(state, output.shape, unsigned, algorithms[operation.enum("rng_algorithm")])
    return [new, lax.bitcast_convert_type(bits, output.dtype)]


def quantized(operation: Operation, x: Any) -> Any:
    raise operation.unsupported("quantized types are not in this jaxlib")


RULES: dict[str, Rule] = {
    "stablehlo.rng_bit_generator": rng_bit_generator,
    "stablehlo.uniform_quantize": quantized,
    "stablehlo.uniform_dequantize": quantized,
}
