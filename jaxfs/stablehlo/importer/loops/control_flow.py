"""Control flow: calls, branches, loops.

Specification: https://github.com/openxla/stablehlo/blob/main/docs/spec.md#if, #case, #while,
#composite, #optimization_barrier.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxlib.mlir import ir

from jaxfs.stablehlo.importer.custom_rules import differentiated_by, forward_only
from jaxfs.stablehlo.importer.loops.trip_count import (
    find_bound,
    runs_until_converged,
    scan_counted,
)
from jaxfs.stablehlo.importer.op import Operation, Rule

MAX_TERMS = 2000  # of a series; as many as JAX takes
_NO_REVERSE_MODE = (
    "{} has no reverse mode: how often it runs depends on data; use jvp or jacfwd, or a loop of "
    "fixed length"
)


def call(operation: Operation, *operands: Any) -> Any:
    """Imports the function that is called, whatever its name is."""
    name = ir.FlatSymbolRefAttr(operation.attribute("callee")).value
    return _one_or_all(operation.call_function(name, operands))


def composite(operation: Operation, *operands: Any) -> Any:
    """Imports a composite operation as its decomposition.

    Its name and attributes are hints for compilers that know it; by the specification the
    decomposition computes the same.  Those of JAX are recognized before, by their decompositions.
    """
    name = ir.FlatSymbolRefAttr(operation.attribute("decomposition")).value
    return _one_or_all(operation.call_function(name, operands))


def _one_or_all(values: Sequence[Any]) -> Any:
    """Returns the only value, or all as a list: what a rule returns for one or several results."""
    return values[0] if len(values) == 1 else list(values)


def branch(operation: Operation, which: Any) -> Any:
    """Imports ``if``: the first region for true, the second for false.

    ``lax.cond`` wants the same types from both, and a region may return a numpy constant, so the
    values are made JAX arrays.
    """
    yes, no = operation.region(0), operation.region(1)
    return _one_or_all(lax.cond(jnp.asarray(which), lambda: _arrays(yes()), lambda: _arrays(no())))


def case(operation: Operation, which: Any) -> Any:
    """Imports ``case``; an index out of range takes the last branch, as the specification demands.

    ``lax.switch`` clamps instead, so that a negative index would take the first branch.
    """
    count = len(operation.mlir.regions)
    regions = [operation.region(number) for number in range(count)]
    which = jnp.where((which < 0) | (which >= count), count - 1, which)
    branches = [lambda region=region: _arrays(region()) for region in regions]
    return _one_or_all(lax.switch(which, branches))


def _arrays(values: Sequence[Any]) -> list[Any]:
    return [jnp.asarray(value) for value in values]


def loop(operation: Operation, *initial: Any) -> Any:
    """Imports a loop: as a scan, which has reverse mode, if its trip count is known.

    Returns:
        The final carries. Those of a loop without a known or bounded trip count are
        differentiated in forward mode only.
    """
    found = scan_counted(operation, initial)
    return _one_or_all(_import_while(operation, initial) if found is None else found)


def _import_while(operation: Operation, initial: Sequence[Any]) -> list[Any]:
    """Imports a loop as ``while_loop``, with a derivative if its trip count is bounded."""
    bound = find_bound(operation, initial)
    limit = bound.trip_count if bound else MAX_TERMS if runs_until_converged(operation) else None
    condition, body = operation.region(0), operation.region(1)
    run = _while if limit is None else _while_at_most(limit)
    found = run(
        lambda carry: jnp.asarray(condition(*carry)[0]),
        lambda carry: _arrays(body(*carry)),
        _arrays(initial),
    )
    if limit is not None:
        return found
    reason = _NO_REVERSE_MODE.format(operation.location_name)
    return [forward_only(value, reason) for value in found]


def _while(condition: Any, body: Any, carry: list[Any]) -> list[Any]:
    found: list[Any] = lax.while_loop(condition, body, carry)
    return found


def _while_at_most(limit: int) -> Any:
    """Returns a ``while_loop`` that is differentiated as a scan of ``limit`` iterations.

    Those after its end do nothing.  If it does not end within ``limit``, its derivative is NaN.
    """

    def run(condition: Any, body: Any, carry: list[Any]) -> list[Any]:
        def as_scan(carry: list[Any]) -> list[Any]:
            def iteration(now: list[Any], _: None) -> tuple[list[Any], None]:
                return lax.cond(condition(now), body, lambda same: same, now), None

            final, _ = lax.scan(iteration, carry, None, length=limit)
            has_not_ended = condition(final)
            return [_nan_if(has_not_ended, value) for value in final]

        found: list[Any] = differentiated_by(lambda c: _while(condition, body, c), as_scan)(carry)
        return found

    return run


def _nan_if(condition: Any, value: Any) -> Any:
    """Returns the value, or NaN in its shape and dtype if ``condition`` holds.

    Integers and booleans have no NaN, and no derivative that could be wrong: they stay.
    """
    is_inexact = jnp.issubdtype(value.dtype, jnp.inexact)
    return jnp.where(condition, jnp.nan, value).astype(value.dtype) if is_inexact else value


def optimization_barrier(operation: Operation, *operands: Any) -> Any:
    """Imports a barrier, across which XLA moves no operation.

    Returns:
        The operands; a program may depend on the barrier for its peak memory, as rematerialization
        does.
    """
    barrier: Any = lax.optimization_barrier  # has no types
    return _one_or_all(list(barrier(tuple(operands))))


RULES: dict[str, Rule] = {
    "func.call": call,
    "stablehlo.composite": composite,
    "stablehlo.if": branch,
    "stablehlo.case": case,
    "stablehlo.while": loop,
    "stablehlo.optimization_barrier": optimization_barrier,
}
