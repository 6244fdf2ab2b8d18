"""Control flow: calls, branches, loops."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxlib.mlir import ir

from jaxfs.stablehlo.importer.custom_rules import differentiated_by, forward_only
from jaxfs.stablehlo.importer.loops.trip_count import bounded, counted, runs_until_converged
from jaxfs.stablehlo.importer.op import Operation, Rule

MAX_TERMS = 2000  # of a series; as many as JAX takes
_NO_WAY_BACK = (
    "{} has no reverse mode: how often it runs depends on data; use jvp or jacfwd, or a loop of "
    "fixed length"
)
_NUMBER = re.compile(r"_\d+\Z")
_KNOWN = {"lgamma_impl": lax.lgamma, "digamma_impl": lax.digamma}


def call(operation: Operation, *operands: Any) -> Any:
    """Some functions are known by name: JAX wrote them out in bits, which have no derivative."""
    name = ir.FlatSymbolRefAttr(operation.attribute("callee")).value
    known = _KNOWN.get(_NUMBER.sub("", name)) if len(operands) == 1 else None
    if known is not None and operation.operand() == operation.result():
        return known(operands[0])
    return _one_or_all(operation.call_function(name, operands))


def composite(operation: Operation, *operands: Any) -> Any:
    """What it is made of says what it is."""
    name = ir.FlatSymbolRefAttr(operation.attribute("decomposition")).value
    return _one_or_all(operation.call_function(name, operands))


def _one_or_all(values: Sequence[Any]) -> Any:
    return values[0] if len(values) == 1 else list(values)


def branch(operation: Operation, which: Any) -> Any:
    yes, no = operation.region(0), operation.region(1)
    return _one_or_all(lax.cond(jnp.asarray(which), lambda: _arrays(yes()), lambda: _arrays(no())))


def case(operation: Operation, which: Any) -> Any:
    """A number that is no branch's means the last one."""
    count = len(operation.mlir.regions)
    regions = [operation.region(number) for number in range(count)]
    which = jnp.where((which < 0) | (which >= count), count - 1, which)
    branches = [lambda region=region: _arrays(region()) for region in regions]
    return _one_or_all(lax.switch(which, branches))


def _arrays(values: Sequence[Any]) -> list[Any]:
    return [jnp.asarray(value) for value in values]


def loop(operation: Operation, *initial: Any) -> Any:
    """A loop whose count is known is a scan, which can be differentiated backwards."""
    found = counted(operation, initial)
    return _one_or_all(_loop(operation, initial) if found is None else found)


def _loop(operation: Operation, initial: Sequence[Any]) -> list[Any]:
    most = bounded(operation, initial)
    length = most.length if most else MAX_TERMS if runs_until_converged(operation) else None
    condition, body = operation.region(0), operation.region(1)
    run = _while if length is None else _while_at_most(length)
    found = run(
        lambda carry: jnp.asarray(condition(*carry)[0]),
        lambda carry: _arrays(body(*carry)),
        _arrays(initial),
    )
    if length is not None:
        return found
    return [forward_only(value, _NO_WAY_BACK.format(operation.location_name)) for value in found]


def _while(condition: Any, body: Any, carry: list[Any]) -> list[Any]:
    found: list[Any] = lax.while_loop(condition, body, carry)
    return found


def _while_at_most(length: int) -> Any:
    """A loop that ends by itself within ``length`` turns: its derivative takes all of them, of
    which those after its end do nothing.  If it does not end in time, its derivative is NaN."""

    def run(condition: Any, body: Any, carry: list[Any]) -> list[Any]:
        def turns(carry: list[Any]) -> list[Any]:
            def turn(now: list[Any], _: None) -> tuple[list[Any], None]:
                return lax.cond(condition(now), body, lambda same: same, now), None

            final, _ = lax.scan(turn, carry, None, length=length)
            goes_on = condition(final)
            return [_nan_if(goes_on, value) for value in final]

        found: list[Any] = differentiated_by(lambda c: _while(condition, body, c), turns)(carry)
        return found

    return run


def _nan_if(condition: Any, value: Any) -> Any:
    is_inexact = jnp.issubdtype(value.dtype, jnp.inexact)
    return jnp.where(condition, jnp.nan, value).astype(value.dtype) if is_inexact else value


def optimization_barrier(operation: Operation, *operands: Any) -> Any:
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
