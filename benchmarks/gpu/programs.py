"""The programs that both sides run, as JAX functions.  Only processes with JAX import this."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.gpu.arrays import Kind
from benchmarks.gpu.config import Sizes

BF16 = jnp.dtype(jnp.bfloat16)
F32 = np.dtype(np.float32)
C64 = np.dtype(np.complex64)
I32 = np.dtype(np.int32)


@dataclass(frozen=True)
class Program:
    """A function with the types of its inputs.

    Attributes:
        function: JAX can trace it.
        kinds: Shapes and types of the inputs.
        donated: Whether it gets its first input for itself.
    """

    function: Callable[..., Any]
    kinds: tuple[Kind, ...]
    donated: bool = False

    @property
    def jitted(self) -> Any:
        """The function as plain JAX runs it."""
        return jax.jit(self.function, donate_argnums=(0,) if self.donated else ())


def programs(sizes: Sizes) -> dict[str, Program]:
    """Returns all programs by name; the first thirteen are those of check B0."""
    n, square = sizes.matrix, ((64, 64), F32)
    matrices = (((n, n), BF16),) * 2
    return {
        "small": Program(lambda x: x + x, (((8,), F32),)),
        "mm_scalar": Program(lambda a, b: (a @ b).astype(F32).sum(), matrices),
        "mm_big": Program(lambda a, b: a @ b, matrices),
        "h2d": Program(lambda x, i: x[i], (((sizes.large,), F32), ((), I32))),
        "d2h": Program(lambda x: jnp.broadcast_to(x, (sizes.large,)), (((), F32),)),
        "step": Program(_step, (((sizes.weights,), F32),)),
        "sort": Program(jnp.sort, (((1000,), F32),)),
        "fft": Program(jnp.fft.fft, (((256,), C64),)),
        "cholesky": Program(lambda x: jnp.linalg.cholesky(x @ x.T + 64 * jnp.eye(64)), (square,)),
        "eigh": Program(lambda x: jnp.linalg.eigh(x + x.T)[0], (square,)),
        "svd": Program(lambda x: jnp.linalg.svd(x, compute_uv=False), (((64, 48), F32),)),
        "solve": Program(lambda x: jnp.linalg.solve(x + 64 * jnp.eye(64), x), (square,)),
        "cond": Program(_cond, (((8,), F32),)),
        "step_donated": Program(_step, (((sizes.weights,), F32),), donated=True),
        "long": Program(_chain(sizes.products), matrices),
        "endless": Program(_endless, (((), I32),)),
        "huge": Program(lambda x: jnp.broadcast_to(x, (1 << 36,)), (((), F32),)),
    }


CHECKED = 13


def _step(weights: jax.Array) -> jax.Array:
    return weights - 0.1 * weights


def _cond(x: jax.Array) -> jax.Array:
    found: jax.Array = jax.lax.cond(x.sum() > 0, lambda y: y + 1, lambda y: y - 1, x)
    return found


def _chain(products: int) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Returns a program of so many products one after another, which takes seconds."""

    def chain(a: jax.Array, b: jax.Array) -> jax.Array:
        def turn(_: Any, x: jax.Array) -> jax.Array:
            return jnp.tanh(x @ b)

        end: jax.Array = jax.lax.fori_loop(0, products, turn, a)
        return end.astype(F32).sum()

    return chain


def _endless(x: jax.Array) -> jax.Array:
    """Counts down by 2 until 0, which an odd number never meets."""
    end: jax.Array = jax.lax.while_loop(lambda i: i != 0, lambda i: i - 2, x)
    return end


def filling(elements: int) -> Program:
    """Returns a program that carries so many f32 through a loop of unknown length."""

    def fill(turns: jax.Array) -> jax.Array:
        start = jnp.full((elements,), 1.5, F32)
        end: jax.Array = jax.lax.fori_loop(0, turns, lambda i, x: x * 1.5 + i, start)
        return end[0] + end[-1]

    return Program(fill, (((), I32),))


def fresh_product(sizes: Sizes) -> Program:
    """Returns a product of matrices of a shape that no other program has."""
    n = sizes.matrix // 2 + 64
    return Program(lambda a, b: jnp.tanh(a @ b), (((n, n), BF16),) * 2)
