"""Sigmoids that JAX wrote out are told from other quotients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax, nn

from jaxfs.stablehlo import import_module

X = np.array([-200, -100, -88.5, -1, 0, 0.5, 30, 100], np.float32)


def in_a_branch(x: Any) -> Any:
    """exp(-x) is made outside of where it is divided by."""
    powers = jnp.exp(-x)
    return lax.cond(x[0] < 0, lambda: 1 / (1 + powers), lambda: powers)


SIGMOIDS: dict[str, Callable[[Any], Any]] = {
    "sigmoid": nn.sigmoid,
    "silu": nn.silu,
    "gated": lambda x: nn.sigmoid(3 * x) * jnp.tanh(x),
    "half precision": lambda x: nn.sigmoid(x.astype(jnp.bfloat16)).astype(jnp.float32),
    "repeated": lambda x: lax.fori_loop(0, 3, lambda i, y: nn.sigmoid(y) * 4 - 2, x),
}
OTHERS: dict[str, Callable[[Any], Any]] = {
    "not negated": lambda x: 1 / (1 + jnp.exp(x)),
    "another dividend": lambda x: 2 / (1 + jnp.exp(-x)),
    "a dividend that varies": lambda x: x / (1 + jnp.exp(-x)),
    "another summand": lambda x: 1 / (2 + jnp.exp(-x)),
    "a summand that varies": lambda x: 1 / (x**2 + jnp.exp(-x)),
    "another base": lambda x: 1 / (1 + jnp.exp2(-x)),
    "a complex one": lambda x: jnp.real(1 / (1 + jnp.exp(-lax.complex(x, x)))),
}


def imported(function: Callable[[Any], Any], x: Any) -> Callable[[Any], Any]:
    module = import_module(jax.jit(function).lower(x).as_text())
    return lambda x: module(x)[0]


def value_and_gradient(function: Callable[[Any], Any], x: Any) -> Any:
    return jax.jit(lambda x: (function(x), jax.grad(lambda x: jnp.sum(function(x)))(x)))(x)


@pytest.mark.parametrize("name", SIGMOIDS)
def test_gradient_of_a_sigmoid_is_finite_where_its_exponential_overflows(name: str) -> None:
    function = SIGMOIDS[name]
    found = value_and_gradient(imported(function, X), X)
    expected = value_and_gradient(function, X)
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", OTHERS)
def test_other_quotients_stay_quotients(name: str) -> None:
    function, x = OTHERS[name], X[3:6]
    assert "logistic" not in str(jax.make_jaxpr(imported(function, x))(x))
    found = value_and_gradient(imported(function, x), x)
    np.testing.assert_allclose(found, value_and_gradient(function, x), rtol=1e-5, atol=1e-6)


def test_sigmoid_of_what_was_made_outside_a_branch_is_found() -> None:
    x = X[3:6]
    function = imported(in_a_branch, x)
    assert "logistic" in str(jax.make_jaxpr(function)(x))
    found, expected = (value_and_gradient(one, x) for one in (function, in_a_branch))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
