"""Random bits, and quantization, which is refused.

Specification: https://github.com/openxla/stablehlo/blob/main/docs/spec.md#rng_bit_generator,
#uniform_quantize, #uniform_dequantize.
"""

from __future__ import annotations

from typing import Any

from jaxfs.stablehlo.importer.op import Operation, Rule
from jaxfs.stablehlo.importer.opaque import import_opaque


def rng_bit_generator(operation: Operation, state: Any) -> Any:
    """Draws bits as XLA does, for each element of a batch from its own state.

    JAX's primitive draws a whole batch from the first state, and has states of 128 bits only.
    """
    return import_opaque(operation, state)


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
