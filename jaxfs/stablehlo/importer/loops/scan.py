"""A counted loop as a scan, with what it reads and writes at the counter's place given as such.

The body is traced once to a jaxpr and looked through (``counters``): a slice at the counter of what
never changes becomes an input of the scan, an update at the counter of what is only written an
output.  Carried along whole, an array of n rows would be kept n times for the way back.
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
from jaxfs.stablehlo.importer.loops.induction import Affine, Counters, Place, induced, reads, writes


@attrs.frozen
class Counter:
    """Carry number ``index`` goes from ``start`` by ``step``, ``length`` times."""

    index: int
    start: int
    step: int
    length: int


@attrs.frozen
class Body:
    """A loop's body as a jaxpr: inputs are the counter, then the moving carries."""

    closed: Any
    length: int
    counting: Mapping[Any, Affine]  # by variable: the counter, and carries that count along
    reads: Sequence[Place]
    writes: Mapping[int, Place]  # by moving carry

    @property
    def carried(self) -> list[int]:
        """The moving carries that have to be carried."""
        moving = enumerate(self.closed.jaxpr.invars[1:])
        return [n for n, var in moving if n not in self.writes and var not in self.counting]


def scan(
    body: Callable[..., list[Any]], initial: Sequence[Any], counter: Counter, kept: frozenset[int]
) -> list[Any]:
    """The final carry.  Carries in ``kept`` never change."""
    result = [jnp.asarray(value) for value in initial]
    if not counter.length:
        return result
    moving = [n for n in range(len(initial)) if n not in kept and n != counter.index]
    traced = _traced(body, initial, counter, moving)
    found = _run(traced, [result[number] for number in moving])
    result[counter.index] = _after(
        Affine(counter.start, counter.step), counter.length, result[counter.index]
    )
    for number, value in zip(moving, found, strict=True):
        result[number] = value
    return result


def _traced(
    body: Callable[..., list[Any]], initial: Sequence[Any], counter: Counter, moving: list[int]
) -> Body:
    whole = [jnp.asarray(value) for value in initial]

    def turn(i: Any, *carry: Any) -> list[Any]:
        values = list(whole)
        values[counter.index] = i
        for number, value in zip(moving, carry, strict=True):
            values[number] = value
        found = body(*values)
        return [jnp.asarray(found[number]) for number in moving]

    closed = jax.make_jaxpr(turn)(whole[counter.index], *(whole[number] for number in moving))
    i, *carry = closed.jaxpr.invars
    starts = zip(carry, (known_integer(initial[number]) for number in moving), strict=True)
    counting = induced(closed, {var: start for var, start in starts if start is not None})
    counting[i] = Affine(counter.start, counter.step)
    known = Counters(closed, counting, counter.length)
    found = reads(closed, known)
    written = writes(closed, known, found)
    fixed = {*closed.jaxpr.constvars, *(carry[n] for n in written)}
    return Body(
        closed, counter.length, counting, [read for read in found if read.array in fixed], written
    )


def known_integer(value: Any) -> int | None:
    """A scalar known before the program runs."""
    is_known = isinstance(value, np.ndarray) and not value.shape and value.dtype.kind in "iu"
    return int(value) if is_known else None


def _run(body: Body, initial: list[Any]) -> list[Any]:
    jaxpr = body.closed.jaxpr
    constants = dict(zip(jaxpr.constvars, body.closed.consts, strict=True))
    at_start = constants | dict(zip(jaxpr.invars[1:], initial, strict=True))
    sources = [_rows(at_start[read.array], read, body.length) for read in body.reads]
    places = {var: _places(index, body.length, var) for var, index in body.counting.items()}

    def step(carry: list[Any], inputs: Any) -> tuple[list[Any], list[Any]]:
        counts, slices = inputs
        env = constants | dict(zip(places, counts, strict=True))
        env.update((jaxpr.invars[1 + n], v) for n, v in zip(body.carried, carry, strict=True))
        _evaluate(body, env, slices)
        new = [_value(env, jaxpr.outvars[number]) for number in body.carried]
        return new, [_update(body, env, place) for place in body.writes.values()]

    given = (list(places.values()), sources)
    final, written = lax.scan(step, [initial[n] for n in body.carried], given, length=body.length)
    return _results(body, initial, final, written)


def _results(body: Body, initial: list[Any], final: list[Any], written: list[Any]) -> list[Any]:
    result = list(initial)
    for number, value in zip(body.carried, final, strict=True):
        result[number] = value
    for (number, place), rows in zip(body.writes.items(), written, strict=True):
        result[number] = _put(initial[number], rows, place, body.length)
    for number, var in enumerate(body.closed.jaxpr.invars[1:]):
        if var in body.counting:
            result[number] = _after(body.counting[var], body.length, initial[number])
    return result


def _places(index: Affine, length: int, var: Any) -> Any:
    """The values of a counter."""
    return np.array(index.offset + index.factor * np.arange(length)).astype(var.aval.dtype)


def _after(index: Affine, length: int, like: Any) -> Any:
    """The value of a counter after the last turn."""
    return jnp.asarray(np.array(index.offset + index.factor * length).astype(like.dtype))


def _update(body: Body, env: dict[Any, Any], place: Place) -> Any:
    """One row, with the dimension it is written in."""
    _, *others = body.closed.jaxpr.eqns[place.equation].invars
    if place.is_squeezed:  # a scatter's operands: array, indices, update
        return jnp.expand_dims(_value(env, others[1]), place.dimension)
    return _value(env, others[0])


def _rows(array: Any, read: Place, length: int) -> Any:
    """What is read, turn by turn: [length, ..., 1, ...]."""
    places = read.slice_of(length)
    used = lax.slice_in_dim(array, places.start, places.stop, places.step, axis=read.dimension)
    in_order = lax.rev(used, (read.dimension,)) if read.index.factor < 0 else used
    return jnp.expand_dims(jnp.moveaxis(in_order, read.dimension, 0), read.dimension + 1)


def _put(whole: Any, rows: Any, place: Place, length: int) -> Any:
    """What was written, turn by turn, where it belongs."""
    found = jnp.moveaxis(jnp.squeeze(rows, place.dimension + 1), 0, place.dimension)
    written = lax.rev(found, (place.dimension,)) if place.index.factor < 0 else found
    if written.shape == whole.shape:
        return written
    start = [0] * whole.ndim
    start[place.dimension] = place.slice_of(length).start
    return lax.dynamic_update_slice(whole, written, start)


def _evaluate(body: Body, env: dict[Any, Any], slices: Sequence[Any]) -> None:
    given = {read.equation: value for read, value in zip(body.reads, slices, strict=True)}
    skipped = {place.equation for place in body.writes.values()}
    for number, equation in enumerate(body.closed.jaxpr.eqns):
        if number in skipped:
            continue
        if number in given:
            found = [given[number]]
        else:
            values = [_value(env, var) for var in equation.invars]
            found = jaxprs.evaluate(equation, values)
        env.update(zip(equation.outvars, found, strict=True))


def _value(env: dict[Any, Any], var: Any) -> Any:
    return var.val if jaxprs.is_literal(var) else env[var]
