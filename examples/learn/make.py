"""Writes the programs and the data of ../learn.sh: a network for scikit-learn's digits.

Run once, with jax and scikit-learn; its output is in this directory.  Training needs neither.

    init.mlir         a seed -> random weights
    step.mlir         weights, images, labels -> the weights one step on, the loss before it
    accuracy.mlir     weights, images, labels -> the share that is right
    train.safetensors, test.safetensors
                      1,437 digits to learn from and 360 that are held out: images u8[n,64] of 17
                      greys, labels u8[n]
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

HERE = Path(__file__).parent
HIDDEN = 64
RATE = 0.5
Params = dict[str, jax.Array]


def init(seed: jax.Array) -> Params:
    """Returns the weights of a network 64 -> HIDDEN -> 10, all f32, for a seed u32[]."""
    one, two = jax.random.split(jax.random.key(seed))
    return {
        "b1": jnp.zeros(HIDDEN),
        "b2": jnp.zeros(10),
        "w1": jax.random.normal(one, (64, HIDDEN)) / 8,
        "w2": jax.random.normal(two, (HIDDEN, 10)) / HIDDEN**0.5,
    }


def scores(params: Params, images: jax.Array) -> jax.Array:
    """Returns f32[n,10] for images u8[n,64]."""
    hidden = jnp.tanh((images / 16.0) @ params["w1"] + params["b1"])
    return hidden @ params["w2"] + params["b2"]


def loss(params: Params, images: jax.Array, labels: jax.Array) -> jax.Array:
    """The mean cross entropy, f32[]."""
    log_scores = jax.nn.log_softmax(scores(params, images))
    return -jnp.take_along_axis(log_scores, labels[:, None].astype("int32"), axis=1).mean()


def step(params: Params, images: jax.Array, labels: jax.Array) -> tuple[Params, jax.Array]:
    """Gradient descent: new weights, and the loss of the old ones."""
    before, gradient = jax.value_and_grad(loss)(params, images, labels)
    return jax.tree.map(lambda p, g: p - RATE * g, params, gradient), before


def accuracy(params: Params, images: jax.Array, labels: jax.Array) -> jax.Array:
    """The share of digits that are read right, f32[]."""
    return (scores(params, images).argmax(axis=1) == labels).mean()


def write(function: Callable[..., Any], *examples: Any) -> None:
    text = jax.jit(function).lower(*examples).as_text()
    (HERE / f"{function.__name__}.mlir").write_text(text)


def main() -> None:
    x, y = load_digits(return_X_y=True)
    parts = train_test_split(x.astype(np.uint8), y.astype(np.uint8), test_size=360, random_state=0)
    learn, held, learn_labels, held_labels = parts
    save_file({"images": learn, "labels": learn_labels}, HERE / "train.safetensors")
    save_file({"images": held, "labels": held_labels}, HERE / "test.safetensors")
    params = jax.eval_shape(init, np.uint32(0))
    write(init, np.uint32(0))
    write(step, params, learn, learn_labels)
    write(accuracy, params, held, held_labels)


if __name__ == "__main__":
    main()
