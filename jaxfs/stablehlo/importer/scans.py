"""A counted loop as a scan, with what it reads and writes at the counter's place given as such.

The body is traced once to a jaxpr and looked through: a slice at the counter of what never changes
becomes an input of the scan, an update at the counter of what is only written an output.  Carried
along whole, an array of n rows would be kept n times for the way back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxfs import jaxcompat


@attrs.frozen
class Counter:
    """Carry number ``index`` goes from ``start`` by ``step``, ``length`` times."""

    index: int
    start: int
    step: int
    length: int

    def places(self, dtype: Any) -> Any:
        """The counter's values."""
        return np.array(self.start + self.step * np.arange(self.length)).astype(dtype)

    def end(self, dtype: Any) -> Any:
        """Its value after the last turn."""
        return np.array(self.start + self.step * self.length).astype(dtype)


@attrs.frozen
class Place:
    """A dimension of an array that an equation of the body uses at the counter."""

    equation: int
    array: Any  # the variable
    dimension: int


@attrs.frozen
class Body:
    """A loop's body as a jaxpr: inputs are the counter, then the moving carries."""

    jaxpr: Any
    constants: Sequence[Any]
    reads: tuple[Place, ...]
    writes: dict[int, Place]  # by moving carry


def scan(
    body: Callable[..., list[Any]], initial: Sequence[Any], count: Counter, kept: frozenset[int]
) -> list[Any]:
    """The final carry.  Carries in ``kept`` never change."""
    dtype = np.dtype(initial[count.index].dtype)
    whole = [jnp.asarray(value) for value in initial]
    moving = [n for n in range(len(initial)) if n not in kept and n != count.index]
    traced = _traced(body, whole, count, moving)
    result = list(whole)
    result[count.index] = jnp.asarray(count.end(dtype))
    found = _run(traced, count, dtype, [whole[number] for number in moving])
    for number, value in zip(moving, found, strict=True):
        result[number] = value
    return result


def _traced(
    body: Callable[..., list[Any]], whole: list[Any], count: Counter, moving: list[int]
) -> Body:
    def turn(i: Any, *carry: Any) -> list[Any]:
        values = list(whole)
        values[count.index] = i
        for number, value in zip(moving, carry, strict=True):
            values[number] = value
        found = body(*values)
        return [jnp.asarray(found[number]) for number in moving]

    closed = jax.make_jaxpr(turn)(whole[count.index], *[whole[number] for number in moving])
    jaxpr = closed.jaxpr
    counters = _counters(jaxpr)
    is_plain = count.start == 0 and count.step == 1
    reads = _reads(jaxpr, counters, count) if is_plain else ()
    writes = _writes(jaxpr, counters, count) if is_plain else {}
    return Body(jaxpr, closed.consts, reads, writes)


def _run(body: Body, count: Counter, dtype: Any, initial: list[Any]) -> list[Any]:
    jaxpr = body.jaxpr
    constants = dict(zip(jaxpr.constvars, body.constants, strict=True))
    sources = [_front(constants[read.array], read.dimension, count) for read in body.reads]
    carried = [n for n in range(len(initial)) if n not in body.writes]

    def step(carry: list[Any], inputs: Any) -> tuple[list[Any], list[Any]]:
        i, slices = inputs
        env = dict(constants)
        env[jaxpr.invars[0]] = i
        for number, value in zip(carried, carry, strict=True):
            env[jaxpr.invars[1 + number]] = value
        _evaluate(body, env, slices)
        new = [_value(env, jaxpr.outvars[number]) for number in carried]
        return new, [
            _value(env, jaxpr.eqns[place.equation].invars[1]) for place in body.writes.values()
        ]

    final, written = lax.scan(
        step, [initial[n] for n in carried], (count.places(dtype), sources), length=count.length
    )
    result = list(initial)
    for number, value in zip(carried, final, strict=True):
        result[number] = value
    for (number, place), rows in zip(body.writes.items(), written, strict=True):
        result[number] = _put(initial[number], rows, place.dimension)
    return result


def _front(array: Any, dimension: int, count: Counter) -> Any:
    """What is read, turn by turn: [length, ..., 1, ...]."""
    used = lax.slice_in_dim(array, 0, count.length, axis=dimension)
    return jnp.expand_dims(jnp.moveaxis(used, dimension, 0), dimension + 1)


def _put(whole: Any, rows: Any, dimension: int) -> Any:
    """What was written, turn by turn, where it belongs."""
    written = jnp.moveaxis(jnp.squeeze(rows, dimension + 1), 0, dimension)
    if written.shape == whole.shape:
        return written
    return lax.dynamic_update_slice(whole, written, (0,) * whole.ndim)


def _evaluate(body: Body, env: dict[Any, Any], slices: Sequence[Any]) -> None:
    given = {read.equation: value for read, value in zip(body.reads, slices, strict=True)}
    skipped = {place.equation for place in body.writes.values()}
    for number, equation in enumerate(body.jaxpr.eqns):
        if number in skipped:
            continue
        if number in given:
            found = [given[number]]
        else:
            values = [_value(env, var) for var in equation.invars]
            found = jaxcompat.evaluate(equation, values)
        env.update(zip(equation.outvars, found, strict=True))


def _value(env: dict[Any, Any], var: Any) -> Any:
    return var.val if jaxcompat.is_literal(var) else env[var]


# Looking through the body


def _counters(jaxpr: Any) -> set[Any]:
    """Variables that have the counter's value, which is not negative."""
    found = {jaxpr.invars[0]}
    for equation in jaxpr.eqns:
        inputs = [v for v in equation.invars if not jaxcompat.is_literal(v)]
        name = equation.primitive.name
        if name in ("convert_element_type", "copy") and inputs and inputs[0] in found:
            if np.dtype(equation.outvars[0].aval.dtype).kind in "iu":
                found.add(equation.outvars[0])
        elif name == "select_n" and len(equation.invars) == 3:  # i < 0 ? i + n : i
            otherwise = equation.invars[1]
            if not jaxcompat.is_literal(otherwise) and otherwise in found:
                found.add(equation.outvars[0])
    return found


def _zero(var: Any) -> bool:
    return bool(jaxcompat.is_literal(var) and np.all(np.asarray(var.val) == 0))


def _dimension(indices: Sequence[Any], shape: Any, part: Any, counters: set[Any]) -> int | None:
    """The one dimension in which ``part`` of an array is one long and at the counter."""
    places = [d for d, var in enumerate(indices) if not _zero(var)]
    if len(places) != 1 or jaxcompat.is_literal(indices[places[0]]):
        return None
    (place,) = places
    rest = [size for d, size in enumerate(shape) if d != place]
    is_whole = [size for d, size in enumerate(part) if d != place] == rest and part[place] == 1
    return place if indices[place] in counters and is_whole else None


def _reads(jaxpr: Any, counters: set[Any], count: Counter) -> tuple[Place, ...]:
    found = []
    for number, equation in enumerate(jaxpr.eqns):
        if equation.primitive.name != "dynamic_slice" or equation.invars[0] not in set(
            jaxpr.constvars
        ):
            continue
        array, indices = equation.invars[0], equation.invars[1:]
        shape = array.aval.shape
        place = _dimension(indices, shape, equation.params["slice_sizes"], counters)
        if place is not None and shape[place] >= count.length:
            found.append(Place(number, array, place))
    return tuple(found)


def _writes(jaxpr: Any, counters: set[Any], count: Counter) -> dict[int, Place]:
    found = {}
    for carry, (var, out) in enumerate(zip(jaxpr.invars[1:], jaxpr.outvars, strict=True)):
        uses = [n for n, e in enumerate(jaxpr.eqns) if any(v is var for v in e.invars)]
        if len(uses) != 1 or any(other is var for other in jaxpr.outvars):
            continue
        equation = jaxpr.eqns[uses[0]]
        if equation.primitive.name != "dynamic_update_slice" or equation.invars[0] is not var:
            continue
        is_only_returned = equation.outvars[0] is out and not any(
            v is out for e in jaxpr.eqns for v in e.invars
        )
        update, indices = equation.invars[1], equation.invars[2:]
        place = _dimension(indices, var.aval.shape, update.aval.shape, counters)
        if is_only_returned and place is not None and var.aval.shape[place] >= count.length:
            found[carry] = Place(uses[0], var, place)
    return found
