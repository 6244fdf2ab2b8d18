"""Whose fault an exception is: only a user's function may raise whatever it likes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from jaxfs.compiler.user_errors import BY_JAX, as_user_error
from jaxfs.errors import Invalid, NotSupported


@pytest.mark.parametrize("error", [KeyError("k"), SystemExit(3), AttributeError("a")])
def test_a_users_function_may_raise_anything(error: BaseException) -> None:
    with pytest.raises(Invalid, match=type(error).__name__), as_user_error():
        raise error


def test_our_own_bugs_are_not_reported_as_the_users() -> None:
    with pytest.raises(AttributeError), as_user_error(kinds=BY_JAX):
        raise AttributeError("a")
    with pytest.raises(Invalid, match="TypeError: shapes"), as_user_error(kinds=BY_JAX):
        raise TypeError("shapes")


@pytest.mark.parametrize(
    ("function", "advice"),
    [
        (lambda x, n: jnp.zeros((n,)) + x, "a size comes from an argument: .* static_argnums"),
        (lambda x, n: x.reshape(n, -1), "a size comes from an argument: .* static_argnums"),
        (lambda x, n: x[:n], r"lax\.dynamic_slice"),
    ],
)
def test_a_size_from_an_argument_gets_advice(function: Any, advice: str) -> None:
    with pytest.raises(Invalid, match=advice), as_user_error():
        jax.jit(function)(jnp.ones(4), 2)


def test_refusals_keep_their_kind() -> None:
    with pytest.raises(NotSupported, match="no"), as_user_error():
        raise NotSupported("no")
