"""Constant folding of small integers: sizes, loop bounds and trip counts.

Operations on known integers are computed during import, in numpy, so that a loop's bound may be
``n - 1`` and a dynamic shape may come from ``get_dimension_size``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxfs.stablehlo.importer.op import Operation

MAX_SIZE = 1024  # elements

Fold = Callable[..., Any]  # (operation, *numpy arrays) -> a numpy array, or None if not folded

_COMPARISONS = {
    "EQ": np.equal,
    "NE": np.not_equal,
    "LT": np.less,
    "LE": np.less_equal,
    "GT": np.greater,
    "GE": np.greater_equal,
}


def fold(operation: Operation, operands: Sequence[Any]) -> Any:
    """Returns the result of an operation on known integers, None if it is not folded."""
    function = _FOLDS.get(operation.name)
    if function is None or any(x.size > MAX_SIZE or x.dtype.kind not in "biu" for x in operands):
        return None
    result = operation.result()
    if np.dtype(result.dtype).kind not in "biu" or np.prod(result.shape) > MAX_SIZE:
        return None
    with np.errstate(over="ignore"):
        found = function(operation, *operands)
    return None if found is None else np.asarray(found, result.dtype).reshape(result.shape)


def _elementwise(function: Callable[..., Any]) -> Fold:
    return lambda operation, *operands: function(*operands)


def _divide(operation: Operation, x: Any, y: Any) -> Any:
    """Rounds towards zero, as XLA does; numpy rounds towards minus infinity.

    The smallest integer has no absolute value, so signs are not removed first.
    """
    if np.any(y == 0) or x.dtype.kind == "b":
        return None
    return x // y + ((np.fmod(x, y) != 0) & ((x < 0) != (y < 0)))


def _remainder(operation: Operation, x: Any, y: Any) -> Any:
    return None if np.any(y == 0) else np.fmod(x, y)


def _compare(operation: Operation, x: Any, y: Any) -> Any:
    return _COMPARISONS[operation.enum("comparison_direction")](x, y)


def _convert(operation: Operation, x: Any) -> Any:
    dtype = np.dtype(operation.result().dtype)
    return x != 0 if dtype == np.bool_ else x.astype(dtype)


def _broadcast(operation: Operation, x: Any, *shape: Any) -> Any:
    result = operation.result()
    spread = [1] * len(result.shape)
    for source, target in enumerate(operation.integers("broadcast_dimensions")):
        spread[target] = x.shape[source]
    return np.broadcast_to(x.reshape(spread), result.shape)


def _slice(operation: Operation, x: Any) -> Any:
    keys = ("start_indices", "limit_indices", "strides")
    return x[tuple(map(slice, *(operation.integers(key) for key in keys)))]


def _concatenate(operation: Operation, *arrays: Any) -> Any:
    return np.concatenate(arrays, operation.integer("dimension"))


_FOLDS: dict[str, Fold] = {
    f"stablehlo.{name}": function
    for name, function in {
        "add": _elementwise(np.add),
        "and": _elementwise(np.bitwise_and),
        "broadcast_in_dim": _broadcast,
        "clamp": _elementwise(lambda low, x, high: np.minimum(np.maximum(x, low), high)),
        "compare": _compare,
        "concatenate": _concatenate,
        "convert": _convert,
        "divide": _divide,
        "dynamic_broadcast_in_dim": _broadcast,
        "dynamic_reshape": _elementwise(lambda x, shape: x),
        "maximum": _elementwise(np.maximum),
        "minimum": _elementwise(np.minimum),
        "multiply": _elementwise(np.multiply),
        "negate": _elementwise(lambda x: np.subtract(np.zeros_like(x), x)),
        "not": _elementwise(np.invert),
        "or": _elementwise(np.bitwise_or),
        "remainder": _remainder,
        "reshape": _elementwise(lambda x: x),
        "select": _elementwise(np.where),
        "slice": _slice,
        "subtract": _elementwise(np.subtract),
        "xor": _elementwise(np.bitwise_xor),
    }.items()
}
