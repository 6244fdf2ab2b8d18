"""Divisions; those that are a sigmoid become ``lax.logistic``.

JAX lowers ``logistic`` to 1 / (1 + exp(-x)).  Differentiated so, it is infinity times zero where
exp(-x) overflows; the derivative of the function itself is s * (1 - s) everywhere, and keeps one
array less for reverse mode.

Specification: https://github.com/openxla/stablehlo/blob/main/docs/spec.md#divide, #logistic.
"""

from __future__ import annotations

from typing import Any

from jax import lax
from jaxlib.mlir import ir

from jaxfs.stablehlo.importer.constants import splat_of
from jaxfs.stablehlo.importer.op import Operation, Rule


def divide(operation: Operation, x: Any, y: Any) -> Any:
    """Imports a division, or ``lax.logistic`` if the quotient is 1 / (1 + exp(-x)).

    Returns:
        An array of the operands' shape. The operations that made the denominator stay without
        users then, and XLA drops them.
    """
    argument = _argument(*operation.mlir.operands)
    return lax.div(x, y) if argument is None else lax.logistic(operation.lookup(argument))


def _argument(dividend: Any, divisor: Any) -> Any:
    """Returns the argument of the sigmoid that a quotient is, None for other quotients."""
    summands = _operands_of("add", divisor)
    if summands is None or splat_of(dividend) != 1:
        return None
    for first, second in (summands, summands[::-1]):
        exponent = _operands_of("exponential", second)
        negated = _operands_of("negate", exponent[0]) if exponent else None
        if negated and splat_of(first) == 1:
            return negated[0]
    return None


def _operands_of(name: str, value: Any) -> list[Any] | None:
    """Returns the operands of the StableHLO operation ``name`` that computes a value.

    Returns:
        None if another operation computes it, or none does because it is a block's argument.
    """
    owner = value.owner
    if isinstance(owner, ir.Block) or owner.name != f"stablehlo.{name}":
        return None
    return list(owner.operands)


RULES: dict[str, Rule] = {
    "stablehlo.divide": divide,
}
