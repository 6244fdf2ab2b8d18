"""Reductions over dimensions and over windows, and the transpose of a window's maximum.

Specification: https://github.com/openxla/stablehlo/blob/main/docs/spec.md#reduce, #reduce_window,
#select_and_scatter.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxfs.stablehlo.importer.custom_rules import differentiated_by
from jaxfs.stablehlo.importer.op import Operation, Rule
from jaxfs.stablehlo.importer.opaque import import_opaque
from jaxfs.stablehlo.importer.reducers import identity, is_identity, monoid, sole_operation
from jaxfs.stablehlo.importer.rewrites.softmax import is_only_a_shift

_MONOIDS: dict[str, Callable[..., Any]] = {  # JAX recognizes these very functions
    "add": lax.add,
    "multiply": lax.mul,
    "maximum": lax.max,
    "minimum": lax.min,
    "and": lax.bitwise_and,
    "or": lax.bitwise_or,
    "xor": lax.bitwise_xor,
}
_REDUCTIONS: dict[str, Callable[..., Any]] = {
    "add": lax.reduce_sum,
    "multiply": lax.reduce_prod,
    "maximum": lax.reduce_max,
    "minimum": lax.reduce_min,
    "and": lax.reduce_and,
    "or": lax.reduce_or,
    "xor": lax.reduce_xor,
}
_FOR_BOOL = {"add": "or", "multiply": "and"}


def reduce(operation: Operation, *operands: Any) -> Any:
    """Imports a reduction of arrays; its operands are the arrays, then their initial values."""
    count = len(operands) // 2
    arrays, initial = operands[:count], operands[count:]
    dimensions = operation.integers("dimensions")
    name = monoid(operation.block()) if count == 1 else None
    if name is not None and not jnp.iscomplexobj(arrays[0]):
        found = _reduce_monoid(name, arrays[0], initial[0], dimensions)
        is_shift = name == "maximum" and is_only_a_shift(operation)
        return lax.stop_gradient(found) if is_shift else found
    if name == "add":
        return lax.add(jnp.sum(arrays[0], dimensions), initial[0])
    region = operation.region()

    def computation(x: Sequence[Any], y: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(region(*x, *y))

    found = _generic(computation, dimensions)(
        tuple(jnp.asarray(a) for a in arrays), tuple(jnp.asarray(i) for i in initial)
    )
    return list(found) if count > 1 else found[0]


def _generic(computation: Callable[..., Any], dimensions: tuple[int, ...]) -> Callable[..., Any]:
    """Returns a reduction by any computation, differentiated as a tree of computations."""

    def run(arrays: Any, initial: Any) -> Any:
        return lax.reduce(arrays, initial, computation, dimensions)

    def by_tree(arrays: Any, initial: Any) -> Any:
        return _tree(computation, [_rows(array, dimensions) for array in arrays], initial)

    return differentiated_by(run, by_tree)


def _tree(computation: Callable[..., Any], rows: list[Any], initial: Sequence[Any]) -> Any:
    """Reduces rows, [n, ...], along the first dimension, half by half."""
    rows = [
        jnp.concatenate([jnp.broadcast_to(start, (1, *row.shape[1:])), row])
        for start, row in zip(initial, rows, strict=True)
    ]
    combine = _over_all(computation, rows[0].ndim)
    while rows[0].shape[0] > 1:
        half = rows[0].shape[0] // 2
        both = combine(
            tuple(row[:half] for row in rows), tuple(row[half : 2 * half] for row in rows)
        )
        rows = [jnp.concatenate([b, r[2 * half :]]) for b, r in zip(both, rows, strict=True)]
    return tuple(row[0] for row in rows)


def _rows(array: Any, dimensions: Sequence[int]) -> Any:
    """Returns an array with its reduced dimensions merged into the first: [reduced, ...kept]."""
    kept = [d for d in range(array.ndim) if d not in dimensions]
    moved = jnp.transpose(array, (*dimensions, *kept))
    return moved.reshape((-1, *(array.shape[d] for d in kept)))


def _over_all(computation: Callable[..., Any], rank: int) -> Callable[..., Any]:
    """Returns a function of scalars as one of arrays of a rank."""
    for _ in range(rank):
        computation = jax.vmap(computation)
    return computation


def _reduce_monoid(name: str, x: Any, initial: Any, dimensions: Sequence[int]) -> Any:
    if np.dtype(x.dtype) == np.bool_:
        name = _FOR_BOOL.get(name, name)
    array = jnp.asarray(x) if type(x) is np.ndarray else x  # slow for a tracer too
    found = _REDUCTIONS[name](array, tuple(dimensions))
    return found if is_identity(initial, name) else _MONOIDS[name](found, jnp.asarray(initial))


def _window(operation: Operation, rank: int) -> dict[str, Any]:
    """Returns the window of an operation, as arguments of ``lax.reduce_window``."""
    ones = (1,) * rank
    return {
        "window_dimensions": operation.integers("window_dimensions", ones),
        "window_strides": operation.integers("window_strides", ones),
        "padding": operation.pairs("padding", rank),
        "base_dilation": operation.integers("base_dilations", ones),
        "window_dilation": operation.integers("window_dilations", ones),
    }


def reduce_window(operation: Operation, *operands: Any) -> Any:
    """Imports a reduction over windows; its operands are the arrays, then their initial values.

    Sums, maxima and minima become JAX's own primitives, which have derivatives. Others run as they
    are, and are differentiated as a tree of pairwise reductions.

    Returns:
        An array for each operand, or the only one.
    """
    count = len(operands) // 2
    arrays, initial = operands[:count], operands[count:]
    window = _window(operation, len(operation.operand().shape))
    name = monoid(operation.block()) if count == 1 else None
    is_dilated = any(n != 1 for n in (*window["base_dilation"], *window["window_dilation"]))
    if name in ("add", "maximum", "minimum") and (name == "add" or not is_dilated):
        # JAX has no derivative of other windows
        x = jnp.asarray(arrays[0])
        found = lax.reduce_window(x, identity(name, x.dtype), _MONOIDS[name], **window)
        return found if is_identity(initial[0], name) else _MONOIDS[name](found, initial[0])
    region = operation.region()

    def computation(x: Sequence[Any], y: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(region(*x, *y))

    def run(arrays: Any, initial: Any) -> Any:
        return tuple(lax.reduce_window(arrays, initial, computation, **window))

    def by_tree(arrays: Any, initial: Any) -> Any:
        rows = [_windows(a, i, **window) for a, i in zip(arrays, initial, strict=True)]
        return _tree(computation, rows, initial)

    found = differentiated_by(run, by_tree)(
        tuple(jnp.asarray(a) for a in arrays), tuple(jnp.asarray(i) for i in initial)
    )
    return list(found) if count > 1 else found[0]


def _windows(
    x: Any,
    fill: Any,
    window_dimensions: Sequence[int],
    window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    base_dilation: Sequence[int],
    window_dilation: Sequence[int],
) -> Any:
    """Returns the elements at each position of the window: [positions, ...result]."""
    edges = [
        (low, high, spread - 1) for (low, high), spread in zip(padding, base_dilation, strict=True)
    ]
    padded = lax.pad(x, fill, edges)
    rows = []
    for position in itertools.product(*map(range, window_dimensions)):
        start = [p * d for p, d in zip(position, window_dilation, strict=True)]
        after = [
            (n - 1 - p) * d
            for p, n, d in zip(position, window_dimensions, window_dilation, strict=True)
        ]
        limit = [size - rest for size, rest in zip(padded.shape, after, strict=True)]
        rows.append(lax.slice(padded, start, limit, window_strides))
    return jnp.stack(rows)


_MIRRORED = {"GE": "LE", "LE": "GE"}
_POOLINGS = {"GE": "maximum", "LE": "minimum"}


def select_and_scatter(operation: Operation, x: Any, source: Any, initial: Any) -> Any:
    """Imports the transpose of a selection of one element of each window.

    That of a maximum or minimum which keeps the first of equal elements is the gradient of JAX's
    pooling, whose padding is a number that an element may equal.  Any other becomes a selection of
    places; one that does not add runs as it is.
    """
    dtype = operation.operand().dtype
    if monoid(operation.block(1)) != "add" or dtype == np.bool_:
        return import_opaque(operation, x, source, initial)
    pooling = _pooling(operation.block(0))
    is_padded = any(map(any, operation.pairs("padding", x.ndim)))
    if pooling is None or is_padded or not jnp.issubdtype(dtype, jnp.floating):
        return _scatter_to_selected(operation, *map(jnp.asarray, (x, source, initial)))
    _, pull = jax.vjp(_pool(pooling, operation), jnp.asarray(x))
    (spread,) = pull(jnp.asarray(source))
    return spread if is_identity(initial, "add") else lax.add(spread, initial)


def _pooling(block: Any) -> str | None:
    """Returns the monoid for a selector that keeps the first of equal elements, None for others.

    JAX's selectors are ``GE`` and ``LE`` of the kept element and the next, which keep it if they
    are equal; so are both with their operands swapped, for the other monoid.
    """
    found = sole_operation(block)
    if found is None or found[0] != "compare" or sorted(found[1]) != [0, 1]:
        return None
    comparison = next(iter(block.operations)).operation
    attributes = comparison.attributes
    if "compare_type" in attributes and "TOTALORDER" in str(attributes["compare_type"]):
        return None
    direction = str(attributes["comparison_direction"]).rstrip(">").split()[-1]
    return _POOLINGS.get(direction if found[1] == [0, 1] else _MIRRORED.get(direction, ""))


def _scatter_to_selected(operation: Operation, x: Any, source: Any, initial: Any) -> Any:
    """Adds the source to the elements that the selector selects, window by window.

    The selector goes through a window's elements in order: true keeps the selected one, false
    takes the next.  Padding is never selected.
    """
    window = _window(operation, x.ndim)
    places = jnp.arange(x.size, dtype=np.int32).reshape(x.shape)
    values = _windows(lax.stop_gradient(x), jnp.zeros((), x.dtype), **window)
    numbers = _windows(places, np.int32(-1), **window)
    keeps = _over_all(lambda kept, other: operation.region(0)(kept, other)[0], x.ndim)

    def step(kept: Any, other: Any) -> tuple[Any, None]:
        (value, number), (next_value, next_number) = kept, other
        is_kept = (next_number < 0) | ((number >= 0) & keeps(value, next_value))
        found = jnp.where(is_kept, value, next_value), jnp.where(is_kept, number, next_number)
        return found, None

    first = values[0], numbers[0]
    (_, selected), _ = lax.scan(step, first, (values[1:], numbers[1:]))
    start = jnp.broadcast_to(initial, (x.size,))
    flat = jnp.where(selected < 0, x.size, selected)
    return start.at[flat.reshape(-1)].add(source.reshape(-1), mode="drop").reshape(x.shape)


def _pool(name: str, operation: Operation) -> Callable[[Any], Any]:
    """Returns the pooling by a monoid over an operation's window.

    The padding is the monoid's identity, so that it is never selected.
    """
    rank = len(operation.operand().shape)
    window = _window(operation, rank)
    return lambda x: lax.reduce_window(x, identity(name, x.dtype), _MONOIDS[name], **window)


RULES: dict[str, Rule] = {
    "stablehlo.reduce": reduce,
    "stablehlo.reduce_window": reduce_window,
    "stablehlo.select_and_scatter": select_and_scatter,
}
