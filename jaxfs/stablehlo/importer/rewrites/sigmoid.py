"""Divisions, and those that are a sigmoid.

JAX writes ``logistic`` out as 1 / (1 + exp(-x)).  Differentiated so, it gives infinity times zero
where exp(-x) overflows; the derivative of the function itself is s * (1 - s) everywhere, and keeps
one array less for the way back.
"""

from __future__ import annotations

from typing import Any

from jax import lax
from jaxlib.mlir import ir

from jaxfs.stablehlo.importer.constants import splat_of
from jaxfs.stablehlo.importer.op import Operation, Rule


def divide(operation: Operation, x: Any, y: Any) -> Any:
    argument = _argument(*operation.mlir.operands)
    return lax.div(x, y) if argument is None else lax.logistic(operation.lookup(argument))


def _argument(one: Any, divisor: Any) -> Any:
    """What the sigmoid is of that a quotient is; None for other quotients."""
    for_sum = _made_by("add", divisor)
    if for_sum is None or splat_of(one) != 1:
        return None
    for first, second in (for_sum, for_sum[::-1]):
        exponent = _made_by("exponential", second)
        negated = _made_by("negate", exponent[0]) if exponent else None
        if negated and splat_of(first) == 1:
            return negated[0]
    return None


def _made_by(name: str, value: Any) -> list[Any] | None:
    """The operands of the operation of that name that makes a value, if one does."""
    owner = value.owner
    if isinstance(owner, ir.Block) or owner.name != f"stablehlo.{name}":
        return None
    return list(owner.operands)


RULES: dict[str, Rule] = {
    "stablehlo.divide": divide,
}
