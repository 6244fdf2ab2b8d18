"""Writes loss.mlir and classes.mlir: softmax regression for the images in ../digits.

Run once, with jax; its output is in this directory. Training needs neither Python nor jax.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp

HERE = Path(__file__).parent
WEIGHTS, IMAGES, LABELS = (jnp.zeros(shape) for shape in ((64, 10), (64, 64), (64, 10)))


def loss(weights: jax.Array, images: jax.Array, labels: jax.Array) -> jax.Array:
    """The mean over all images; labels are rows of ten, one of them 1."""
    return -(labels * jax.nn.log_softmax(images @ weights)).sum(axis=1).mean()


def classes(weights: jax.Array, images: jax.Array) -> jax.Array:
    """The digit that each image most likely is."""
    return (images @ weights).argmax(axis=1).astype("int32")


def write(function: Callable[..., jax.Array], *examples: jax.Array) -> None:
    text = jax.jit(function).lower(*examples).as_text()
    (HERE / f"{function.__name__}.mlir").write_text(text)


if __name__ == "__main__":
    write(loss, WEIGHTS, IMAGES, LABELS)
    write(classes, WEIGHTS, IMAGES)
