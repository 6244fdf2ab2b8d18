"""Train an Equinox network on scikit-learn's handwritten digits and pickle it for jaxfs.

    pip install equinox scikit-learn cloudpickle
    python train.py digits.pkl

The pickle is the network itself, a callable that takes one image f32[64].  It names Equinox's
classes, so equinox has to be installed where jaxfs runs; functions go along by value, so both need
the same version of Python.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cloudpickle
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

STEPS, RATE, MOMENTUM = 300, 0.1, 0.9


def loss(model: eqx.nn.MLP, x: jax.Array, y: jax.Array) -> jax.Array:
    """Mean cross entropy over a batch, x f32[n,64], y i32[n]."""
    scores = jax.nn.log_softmax(jax.vmap(model)(x))
    return -jnp.take_along_axis(scores, y[:, None], 1).mean()


def main(out: Path) -> None:
    """Train on three quarters of the images; those of ../digits are among the others."""
    images, labels = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(
        np.float32(images / 16), labels, random_state=0, stratify=labels
    )
    key = jax.random.key(0)
    model = eqx.nn.MLP(64, 10, 32, 1, activation=lambda h: jnp.maximum(h, 0), key=key)
    velocity = jax.tree.map(lambda leaf: 0.0 * leaf, eqx.filter(model, eqx.is_array))

    @eqx.filter_jit
    def step(model, velocity):  # type: ignore[no-untyped-def]  # pytrees
        gradient = eqx.filter_grad(loss)(model, x, y)
        velocity = jax.tree.map(lambda v, g: MOMENTUM * v - RATE * g, velocity, gradient)
        return eqx.apply_updates(model, velocity), velocity

    for _ in range(STEPS):
        model, velocity = step(model, velocity)
    right = jnp.mean(jnp.argmax(jax.vmap(model)(x_test), 1) == y_test)
    out.write_bytes(cloudpickle.dumps(model))
    print(f"{right:.1%} of {len(x_test)} images right; {out.name} has {out.stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
