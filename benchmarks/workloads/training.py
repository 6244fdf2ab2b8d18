"""A small network's training step in JAX, and where 1,000 of them lead.

``benchmarks.workloads.sources`` writes it; ``arrays`` runs the same steps through files.
"""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

STEPS = 1000
RATE = 0.1
Params = dict[str, jax.Array]


def step(params: Params, x: jax.Array, y: jax.Array) -> Params:
    """One step of gradient descent on the squared error of a network of two layers."""

    def loss(params: Params) -> jax.Array:
        hidden = jnp.tanh(x @ params["w1"] + params["b1"])
        return jnp.mean((hidden @ params["w2"] + params["b2"] - y) ** 2)

    gradient = jax.grad(loss)(params)
    return {name: value - RATE * gradient[name] for name, value in params.items()}


def write(directory: Path) -> None:
    """``step.mlir``; its first parameters and data; ``after.npz``, the parameters after STEPS."""
    random = np.random.default_rng(0)

    def normal(*shape: int) -> NDArray[np.float32]:
        return random.normal(0, 0.3, shape).astype(np.float32)

    first = {"w1": normal(64, 32), "b1": normal(32), "w2": normal(32, 10), "b2": normal(10)}
    x, y = normal(128, 64), normal(128, 10)
    compiled = jax.jit(step)
    (directory / "step.mlir").write_text(compiled.lower(first, x, y).as_text())
    save_file(first, directory / "first.safetensors")
    np.save(directory / "x.npy", x)
    np.save(directory / "y.npy", y)
    params: Params = {name: jnp.asarray(value) for name, value in first.items()}
    for _ in range(STEPS):
        params = compiled(params, x, y)
    after: dict[str, NDArray[np.float32]] = {name: np.asarray(a) for name, a in params.items()}
    np.savez(directory / "after.npz", allow_pickle=False, **after)
