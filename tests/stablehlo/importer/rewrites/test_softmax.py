"""Maxima that only shift are told from those that count, and derivatives stay JAX's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax, nn
from jax.scipy import special

from jaxfs.stablehlo import import_module
from jaxfs.stablehlo.importer.op import Operation
from jaxfs.stablehlo.importer.rewrites.softmax import is_only_a_shift
from jaxfs.stablehlo.importer.rules import reductions
from tests.stablehlo.importer.test_models import QUICK

SHAPE = (3, 4)
LENGTH = 6  # steps of a random function
TRIED = 80  # random functions
Function = Callable[[Any], Any]


@pytest.fixture(autouse=True)
def wide() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


@pytest.fixture
def verdicts(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What was said of each maximum."""
    said: list[bool] = []

    def recorded(one: Operation) -> bool:
        said.append(is_only_a_shift(one))
        return said[-1]

    monkeypatch.setattr(reductions, "is_only_a_shift", recorded)
    return said


def array(seed: int = 3) -> Any:
    return jnp.asarray(np.random.default_rng(seed).uniform(-0.9, 0.9, SHAPE))


def imported(function: Function) -> Function:
    module = import_module(jax.jit(function).lower(array()).as_text())
    return lambda x: module(x)[0]


def derivatives(function: Function, x: Any) -> tuple[Any, ...]:
    """Value, and gradient of a scalar in which every element counts."""

    def loss(x: Any) -> Any:
        y = function(x)
        return jnp.sum(jnp.cos(jnp.arange(y.size)).reshape(y.shape) * y * (1 + y))

    return function(x), jax.grad(loss)(x)


def assert_same_derivatives(functions: list[Function], x: Any) -> None:
    ours = [imported(function) for function in functions]
    found, expected = jax.jit(
        lambda x: [[derivatives(one, x) for one in those] for those in (ours, functions)],
        compiler_options=dict.fromkeys(QUICK, True),
    )(x)
    for one, other in zip(found, expected, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def top(x: Any, axis: Any = 1) -> Any:
    """The greatest along an axis; JAX's derivative flows through it."""
    return jnp.max(x, axis, keepdims=True)


def finite(m: Any) -> Any:
    return lax.select(lax.is_finite(m), m, jnp.zeros_like(m))


@jax.custom_jvp
def sum_from_one(x: Any) -> Any:
    return lax.reduce(x, np.float64(1), lax.add, (1,))[:, None]


# jax 0.10 and 0.12 differentiate it as if it began with nothing
sum_from_one.defjvps(lambda x_dot, found, x: x_dot.sum(1, keepdims=True))


ONLY_SHIFTS: dict[str, Function] = {
    "softmax": nn.softmax,
    "softmax along the first axis": lambda x: nn.softmax(x, axis=0),
    "softmax over all": lambda x: nn.softmax(x, axis=(0, 1)),
    "log_softmax": nn.log_softmax,
    "logsumexp": lambda x: special.logsumexp(x, 1),
    "logsumexp with weights": lambda x: special.logsumexp(x, 1, b=1 + x**2),
    "without stop_gradient": lambda x: (e := jnp.exp(x - top(x))) / e.sum(1, keepdims=True),
    "masked": lambda x: (
        (e := lax.select(x < 0.5, jnp.exp(x - top(x)), jnp.zeros(SHAPE)))
        / (0.1 * e + e.sum(1, keepdims=True))
    ),
    "a difference of shifted ones": lambda x: (x - (m := top(x))) - (2 * x**2 - m),
    "given back": lambda x: jnp.log(jnp.exp(x - (m := top(x)))) + m,
    "where it is finite": lambda x: (
        jnp.log(jnp.exp(x - (m := finite(top(x)))).sum(1, keepdims=True)) + m
    ),
    "given back by one that is squared": lambda x: (
        (e := jnp.exp(x - (m := top(x)))) * e * jnp.exp(m) / (jnp.exp(-m) * 3)
    ),
    "rounded and left": lambda x: x**2 + jnp.floor(2 * x) * jnp.floor(top(x)) - jnp.sign(top(x)),
    "only compared": lambda x: jnp.where(x == top(x), x**2, x),
    "as an integer": lambda x: x * jnp.floor(4 * x) + (jnp.int32(jnp.exp(top(x))) * x),
    "in less precision": lambda x: nn.softmax(x.astype(jnp.float32)).astype(x.dtype),
}
COUNT: dict[str, Function] = {
    "the maximum itself": lambda x: top(x) + 0 * x,
    "subtracted and left": lambda x: x - top(x),
    "used again": lambda x: nn.softmax(x) + jnp.max(x, 1, keepdims=True),
    "the same one used again": lambda x: (
        (e := jnp.exp(x - (m := top(x)))) / e.sum(1, keepdims=True) + m
    ),
    "shifted unequally": lambda x: (
        jnp.exp(x - (m := top(x))) / jnp.exp(x - 2 * m).sum(1, keepdims=True)
    ),
    "shifted twice": lambda x: (
        jnp.exp(x - (m := top(x)) - m) / jnp.exp(x - m).sum(1, keepdims=True)
    ),
    "shifted the other way": lambda x: (
        jnp.exp(x - (m := top(x))) / jnp.exp(x + m).sum(1, keepdims=True)
    ),
    "scaled alike but multiplied": lambda x: (
        (e := jnp.exp(x - top(x))) * e.sum(1, keepdims=True)
    ),
    "summed with what is not scaled": lambda x: (
        (e := jnp.exp(x - top(x))) / (1 + e.sum(1, keepdims=True))
    ),
    "summed along its own dimension": lambda x: (
        (e := jnp.exp(x - top(x))) / e.sum(0, keepdims=True)
    ),
    "a sum that begins with one": lambda x: (
        (e := jnp.exp(x - top(x))) / sum_from_one(e)
    ),
    "another reduction than a sum": lambda x: (
        (e := jnp.exp(x - top(x))) / jnp.prod(e, 1, keepdims=True)
    ),
    "transposed maxima": lambda x: (
        (y := x[:, :3], m := jnp.max(y, 1))
        and jnp.exp(y - m[:, None]) / jnp.exp(y - m[None, :]).sum(1, keepdims=True)
    ),
    "rounded away, once": lambda x: x - jnp.floor(4 * x) * jnp.sign(m := top(x)) - m,
    "rounded": lambda x: x - jnp.floor(4 * (x - top(x))) - top(x) ** 2,
    "an integer between": lambda x: (
        (m := top(x)) * x + jnp.int32(9 * (x - m)).astype(x.dtype) + m
    ),
    "rounded to an integer and given back": lambda x: (
        jnp.int32(x - (m := top(x))).astype(x.dtype) + m
    ),
    "where it is not finite": lambda x: (
        x - (m := top(x)) + jnp.where(jnp.isfinite(m), 0.0, m)
    ),
    "where it is finite, beside itself": lambda x: (
        x - (m := top(x)) + jnp.where(m > 0.6, m, 0.0)
    ),
    "where its exponential is finite": lambda x: (
        x - (m := top(x)) + jnp.where(jnp.isfinite(jnp.exp(900 * m)), m, 0.0)
    ),
    "chosen at some places": lambda x: (
        jnp.where(x > 0, x - (m := top(x)), x) - jnp.where(x > 0.1, -m, 0.0)
    ),
    "masked by one": lambda x: (
        (e := jnp.where(x < 0.5, jnp.exp(x - top(x)), 1)) / e.sum(1, keepdims=True)
    ),
    "cut off": lambda x: jnp.maximum(x - top(x), -0.7) + top(x),
    "in a loop": lambda x: lax.fori_loop(0, 3, lambda i, y: y * 0.5 + top(x), x),
    "in a branch": lambda x: (
        (m := top(x), lax.cond(x[0, 0] > 0, lambda: x - m, lambda: x * m))[1]
    ),
    "given to a function": lambda x: x + jax.jit(lambda m: m * 2)(top(x)),
    "a minimum in between": lambda x: jnp.exp(x - top(x)) / jnp.exp(x - jnp.min(x)),
}  # fmt: skip


@pytest.mark.parametrize("name", ONLY_SHIFTS)
def test_nothing_flows_back_through_a_maximum_that_only_shifts(
    name: str, verdicts: list[bool]
) -> None:
    assert_same_derivatives([ONLY_SHIFTS[name]], array())
    assert verdicts
    assert all(verdicts)


def test_maxima_that_count_are_differentiated(verdicts: list[bool]) -> None:
    assert_same_derivatives(list(COUNT.values()), array())
    assert False in verdicts


@pytest.mark.parametrize("name", COUNT)
def test_a_maximum_that_counts_is_found_to(name: str, verdicts: list[bool]) -> None:
    jax.make_jaxpr(imported(COUNT[name]))(array())
    assert False in verdicts


@pytest.mark.parametrize("row", [[-np.inf] * 4, [np.inf, 0, 1, 2], [np.nan, 0, 1, 2]])
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp"])
def test_rows_that_are_not_finite_are_differentiated_as_by_jax(name: str, row: list[float]) -> None:
    assert_same_derivatives([ONLY_SHIFTS[name]], array().at[1].set(jnp.array(row)))


STEPS: tuple[Callable[[Any, Any], Any], ...] = (
    lambda a, b: a - b,
    lambda a, b: a - b,
    lambda a, b: a + b,
    lambda a, b: a * b,
    lambda a, b: a / b,
    lambda a, b: jnp.exp(a),
    lambda a, b: jnp.exp(a),
    lambda a, b: jnp.log(a),
    lambda a, b: -a,
    lambda a, b: jnp.abs(a),
    lambda a, b: a.sum(1, keepdims=True) if a.shape == SHAPE else a,
    lambda a, b: a.sum(0, keepdims=True) if a.shape == SHAPE else a,
    lambda a, b: lax.select(lax.is_finite(a), a, jnp.zeros_like(a)),
    lambda a, b: lax.select(b < 0.1, a, 0 * b) if a.shape == b.shape else a,
    lambda a, b: jnp.floor(3 * a),
    lambda a, b: jnp.int32(3 * a).astype(a.dtype),
    lambda a, b: jnp.maximum(a, -jnp.inf),
    lambda a, b: a**2,
)


def random_function(random: np.random.Generator) -> Function:
    """Steps on a maximum and what came of it."""
    steps = [(random.integers(len(STEPS)), *random.random(3)) for _ in range(LENGTH)]

    def function(x: Any) -> Any:
        values = [x, 2 + x, m := top(x), x - m]
        for number, one, other, own in steps:
            # late ones more often, so that steps build upon one another
            a, b = (values[int(len(values) * at**0.4)] for at in (one, other))
            values.append(STEPS[number](a, m if own < 0.4 else b))
        return values[-1] + x

    return function


def test_random_uses_of_a_maximum_are_differentiated_as_by_jax(verdicts: list[bool]) -> None:
    """Those of which it is said that the maximum only shifts: of others there is nothing to say."""
    random, found = np.random.default_rng(11), []
    for function in (random_function(random) for _ in range(TRIED)):
        verdicts.clear()
        jax.make_jaxpr(imported(function))(array())
        if all(verdicts):
            found.append(function)
    assert len(found) > TRIED / 20
    assert_same_derivatives([one for one in found if np.isfinite(one(array())).all()], array())
