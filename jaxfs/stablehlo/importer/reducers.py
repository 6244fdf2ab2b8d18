"""Recognition of a reduction's region: the monoid that it computes, and the monoid's identity."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import ml_dtypes
import numpy as np

MONOIDS = frozenset({"add", "multiply", "maximum", "minimum", "and", "or", "xor"})


def sole_operation(block: Any) -> tuple[str, list[int]] | None:
    """Returns a block's only operation, if it applies that to arguments of its own.

    Returns:
        The operation's name and the numbers of the arguments; None for other blocks.
    """
    operations = list(block.operations)
    if len(operations) != 2 or len(operations[0].operation.results) != 1:
        return None
    first, last = operations[0].operation, operations[1].operation
    if list(last.operands) != [first.results[0]]:
        return None
    arguments = list(block.arguments)
    if not all(operand in arguments for operand in first.operands):
        return None
    return first.name.removeprefix("stablehlo."), [arguments.index(o) for o in first.operands]


def monoid(block: Any) -> str | None:
    """Returns the monoid of a region, ``add`` if it adds its two arguments; None for others."""
    found = sole_operation(block)
    if found is None or sorted(found[1]) != [0, 1] or found[0] not in MONOIDS:
        return None
    return found[0]


def identity(name: str, dtype: Any) -> Any:
    """Returns the identity element of a monoid, as a scalar array of a dtype.

    >>> identity("add", np.float32).item(), identity("maximum", np.float32).item()
    (0.0, -inf)
    """
    dtype = np.dtype(dtype)
    if dtype == np.bool_:
        return np.array(name in ("multiply", "minimum", "and"), dtype)
    if name in ("maximum", "minimum"):
        if jnp.issubdtype(dtype, jnp.floating):
            return np.array(-np.inf if name == "maximum" else np.inf, dtype)
        info: Any = ml_dtypes.iinfo(dtype)
        return np.array(info.min if name == "maximum" else info.max, dtype)
    if name == "and":
        return np.array(-1).astype(dtype)
    return np.array(1 if name == "multiply" else 0, dtype)


def is_identity(value: Any, name: str) -> bool:
    """Returns whether an initial value is known, and is the identity of a monoid."""
    if not isinstance(value, np.ndarray):
        return False
    return bool(np.all(value == identity(name, value.dtype)))
