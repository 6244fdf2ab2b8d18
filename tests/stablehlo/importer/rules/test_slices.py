"""Slices that together are a split are imported as one; others are not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxfs.stablehlo import import_module

X = np.linspace(-1, 1, 24).reshape(4, 6)


@pytest.fixture(autouse=True)
def wide() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def in_a_branch(x: Any) -> Any:
    return x[:, :2] * lax.cond(x[0, 0] < 0, lambda: x[:, 2:4], lambda: x[:, 4:])


SPLITS: dict[str, Callable[[Any], Any]] = {
    "equal": lambda x: sum(p**k for k, p in enumerate(jnp.split(x, 3, axis=1), 1)),
    "unequal": lambda x: jnp.concatenate([p * p.sum() for p in jnp.split(x, [1, 4], axis=1)], 1),
    "out of order": lambda x: x[3:] * x[:2].sum() + x[2:3] ** 2,
    "used twice": lambda x: (x[:2] ** 2 + x[2:]) * x[:2],
}
NO_SPLITS: dict[str, Callable[[Any], Any]] = {
    "overlapping": lambda x: x[:, :4] ** 2 + x[:, 2:] ** 3,
    "a part left out": lambda x: x[:, :2] ** 2 + x[:, 4:] ** 3,
    "with strides": lambda x: x[::2] ** 2 + x[1::2] ** 3,
    "along two dimensions": lambda x: x[:2, :3] ** 2 + x[2:, 3:] ** 3,
    "only one": lambda x: x[:3] ** 2,
    "the whole among them": lambda x: lax.slice(x, (0, 0), (4, 6)) ** 2 + x[:1],
    "in a branch": in_a_branch,
}


def primitives(name: str, functions: dict[str, Callable[[Any], Any]]) -> list[str]:
    """What the import of a function is made of, once its gradient has been compared."""
    function = functions[name]
    module = import_module(jax.jit(function).lower(X).as_text())
    gradients = [
        jax.jit(jax.grad(lambda x, f=f: jnp.sum(jnp.sin(f(x)))))
        for f in (lambda x: module(x)[0], function)
    ]
    found, expected = (gradient(X) for gradient in gradients)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    return [equation.primitive.name for equation in jax.make_jaxpr(module)(X).eqns]


@pytest.mark.parametrize("name", SPLITS)
def test_slices_that_make_the_whole_are_one_split(name: str) -> None:
    found = primitives(name, SPLITS)
    assert found.count("split") == 1
    assert "slice" not in found


@pytest.mark.parametrize("name", NO_SPLITS)
def test_other_slices_stay_slices(name: str) -> None:
    assert "split" not in primitives(name, NO_SPLITS)
