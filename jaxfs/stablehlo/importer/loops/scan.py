"""A loop with a known trip count as ``lax.scan``.

The body is traced once to a jaxpr and analysed (``induction``): a row of an array that never
changes becomes an input of the scan, a row of an array that is only written an output.  Carried
along whole, an array of n rows would be kept n times for reverse mode.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxfs.jaxcompat import jaxprs
from jaxfs.stablehlo.importer.loops.induction import (
    AffineIndex,
    AffineVariables,
    ArrayAccess,
    basic_induction_variables,
    find_reads,
    find_writes,
)


@attrs.frozen
class LoopCounter:
    """The induction variable that a loop's condition compares with its limit.

    Attributes:
        carry: Its number among the loop's carries.
        start: Its initial value.
        step: What an iteration adds to it.
        trip_count: The number of iterations.
    """

    carry: int
    start: int
    step: int
    trip_count: int


@attrs.frozen
class LoopBody:
    """A loop's body as a jaxpr of the counter and of the carries that change.

    Attributes:
        closed_jaxpr: The body; its inputs are the counter, then the changing carries.
        trip_count: The number of iterations.
        induction: The counter, and carries that count along, by variable.
        reads: The rows that it reads of arrays that do not change.
        writes: The rows that it writes, by the number of the changing carry.
    """

    closed_jaxpr: Any
    trip_count: int
    induction: Mapping[Any, AffineIndex]
    reads: Sequence[ArrayAccess]
    writes: Mapping[int, ArrayAccess]

    @property
    def carried(self) -> list[int]:
        """Returns the numbers of the changing carries that the scan has to carry."""
        changing = enumerate(self.closed_jaxpr.jaxpr.invars[1:])
        return [n for n, var in changing if n not in self.writes and var not in self.induction]


def scan(
    body: Callable[..., list[Any]],
    initial: Sequence[Any],
    counter: LoopCounter,
    unchanged: frozenset[int],
) -> list[Any]:
    """Returns the final carries of a loop.

    Args:
        body: A function from carries to the next carries.
        initial: The initial carries.
        counter: The loop's counter.
        unchanged: The numbers of carries that the body returns as they are.
    """
    result = [jnp.asarray(value) for value in initial]
    if not counter.trip_count:
        return result
    changing = [n for n in range(len(initial)) if n not in unchanged and n != counter.carry]
    traced = _trace(body, initial, counter, changing)
    found = _run(traced, [result[number] for number in changing])
    index = AffineIndex(counter.start, counter.step)
    result[counter.carry] = _final_value(index, counter.trip_count, result[counter.carry])
    for number, value in zip(changing, found, strict=True):
        result[number] = value
    return result


def _trace(
    body: Callable[..., list[Any]],
    initial: Sequence[Any],
    counter: LoopCounter,
    changing: list[int],
) -> LoopBody:
    whole = [jnp.asarray(value) for value in initial]

    def iteration(i: Any, *carry: Any) -> list[Any]:
        values = list(whole)
        values[counter.carry] = i
        for number, value in zip(changing, carry, strict=True):
            values[number] = value
        found = body(*values)
        return [jnp.asarray(found[number]) for number in changing]

    closed = jax.make_jaxpr(iteration)(whole[counter.carry], *(whole[n] for n in changing))
    i, *carry = closed.jaxpr.invars
    starts = zip(carry, (_known_integer(initial[number]) for number in changing), strict=True)
    known_starts = {var: start for var, start in starts if start is not None}
    induction = basic_induction_variables(closed, known_starts)
    induction[i] = AffineIndex(counter.start, counter.step)
    variables = AffineVariables(closed, induction, counter.trip_count)
    reads = find_reads(closed, variables)
    writes = find_writes(closed, variables, reads)
    fixed = {*closed.jaxpr.constvars, *(carry[n] for n in writes)}
    fixed_reads = [read for read in reads if read.array in fixed]
    return LoopBody(closed, counter.trip_count, induction, fixed_reads, writes)


def _known_integer(value: Any) -> int | None:
    """Returns a scalar that is known before the program runs."""
    is_known = isinstance(value, np.ndarray) and not value.shape and value.dtype.kind in "iu"
    return int(value) if is_known else None


def _run(body: LoopBody, initial: list[Any]) -> list[Any]:
    """Returns the final values of the changing carries."""
    jaxpr = body.closed_jaxpr.jaxpr
    constants = dict(zip(jaxpr.constvars, body.closed_jaxpr.consts, strict=True))
    at_start = constants | dict(zip(jaxpr.invars[1:], initial, strict=True))
    rows = [_rows(at_start[read.array], read, body.trip_count) for read in body.reads]
    indices = {var: _values(index, body.trip_count, var) for var, index in body.induction.items()}

    def step(carry: list[Any], inputs: Any) -> tuple[list[Any], list[Any]]:
        counts, row = inputs
        env = constants | dict(zip(indices, counts, strict=True))
        env.update((jaxpr.invars[1 + n], v) for n, v in zip(body.carried, carry, strict=True))
        _evaluate(body, env, row)
        new = [_value(env, jaxpr.outvars[number]) for number in body.carried]
        return new, [_written_row(body, env, write) for write in body.writes.values()]

    inputs = (list(indices.values()), rows)
    carried = [initial[number] for number in body.carried]
    final, written = lax.scan(step, carried, inputs, length=body.trip_count)
    return _results(body, initial, final, written)


def _results(body: LoopBody, initial: list[Any], final: list[Any], written: list[Any]) -> list[Any]:
    result = list(initial)
    for number, value in zip(body.carried, final, strict=True):
        result[number] = value
    for (number, write), rows in zip(body.writes.items(), written, strict=True):
        result[number] = _with_rows(initial[number], rows, write, body.trip_count)
    for number, var in enumerate(body.closed_jaxpr.jaxpr.invars[1:]):
        if var in body.induction:
            result[number] = _final_value(body.induction[var], body.trip_count, initial[number])
    return result


def _values(index: AffineIndex, trip_count: int, var: Any) -> Any:
    """Returns the values of an induction variable in all iterations, wrapped as its type does."""
    return np.array(index.offset + index.factor * np.arange(trip_count)).astype(var.aval.dtype)


def _final_value(index: AffineIndex, trip_count: int, like: Any) -> Any:
    """Returns the value of an induction variable after the last iteration."""
    return jnp.asarray(np.array(index.offset + index.factor * trip_count).astype(like.dtype))


def _written_row(body: LoopBody, env: dict[Any, Any], write: ArrayAccess) -> Any:
    """Returns the row that an iteration writes, with its dimension of one."""
    _, *others = body.closed_jaxpr.jaxpr.eqns[write.equation].invars
    if write.is_squeezed:  # a scatter's operands: array, indices, update
        return jnp.expand_dims(_value(env, others[1]), write.dimension)
    return _value(env, others[0])


def _rows(array: Any, read: ArrayAccess, trip_count: int) -> Any:
    """Returns the rows that the iterations read: [trip count, ..., 1, ...]."""
    span = read.slice_of(trip_count)
    used = lax.slice_in_dim(array, span.start, span.stop, span.step, axis=read.dimension)
    in_order = lax.rev(used, (read.dimension,)) if read.index.factor < 0 else used
    return jnp.expand_dims(jnp.moveaxis(in_order, read.dimension, 0), read.dimension + 1)


def _with_rows(whole: Any, rows: Any, write: ArrayAccess, trip_count: int) -> Any:
    """Returns an array with the rows that the iterations wrote: [trip count, ..., 1, ...]."""
    found = jnp.moveaxis(jnp.squeeze(rows, write.dimension + 1), 0, write.dimension)
    written = lax.rev(found, (write.dimension,)) if write.index.factor < 0 else found
    if written.shape == whole.shape:
        return written
    start = [0] * whole.ndim
    start[write.dimension] = write.slice_of(trip_count).start
    return lax.dynamic_update_slice(whole, written, start)


def _evaluate(body: LoopBody, env: dict[Any, Any], rows: Sequence[Any]) -> None:
    """Adds the values of all equations to ``env``, but for reads and writes of rows."""
    read_rows = {read.equation: row for read, row in zip(body.reads, rows, strict=True)}
    skipped = {write.equation for write in body.writes.values()}
    for number, equation in enumerate(body.closed_jaxpr.jaxpr.eqns):
        if number in skipped:
            continue
        if number in read_rows:
            found = [read_rows[number]]
        else:
            found = jaxprs.evaluate(equation, [_value(env, var) for var in equation.invars])
        env.update(zip(equation.outvars, found, strict=True))


def _value(env: dict[Any, Any], var: Any) -> Any:
    return var.val if jaxprs.is_literal(var) else env[var]
