"""Networks as people train them, small: what gradients through the import are measured on.

Each is a loss of parameters and a batch, big enough that arithmetic takes the time, not calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax, nn

HEADS = 4
CLASSES = 10
CHANNELS = ("NHWC", "HWIO", "NHWC")


@dataclass(frozen=True)
class Network:
    """``loss(parameters, batch)`` is a number; ``shapes`` are the parameters', f32 arrays."""

    name: str
    what: str
    loss: Callable[[list[Any], Any], Any]
    shapes: Sequence[tuple[int, ...]]
    batch: tuple[int, ...]

    def inputs(self) -> tuple[list[Any], Any]:
        """Drawn anew each time, the same."""
        random = np.random.default_rng(0)
        parameters = [
            jnp.asarray(random.normal(0, shape[-2] ** -0.5, shape), jnp.float32)
            for shape in self.shapes
        ]
        return parameters, jnp.asarray(random.normal(0, 1, self.batch), jnp.float32)


def _normal(x: Any) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    return centred * lax.rsqrt(jnp.mean(centred**2, -1, keepdims=True) + 1e-5)


def _attention(x: Any, mask: Any, qkv: Any, out: Any) -> Any:
    """[batch, time, width] to the same."""
    q, k, v = (h.reshape(*h.shape[:2], HEADS, -1) for h in jnp.split(_normal(x) @ qkv, 3, axis=-1))
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(q.shape[-1])
    weights = nn.softmax(jnp.where(mask, scores, -1e9))
    return jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(x.shape) @ out


def transformer(parameters: list[Any], x: Any) -> Any:
    """Predicts a class at each place from the places before it."""
    *layers, head = parameters
    mask = jnp.tril(jnp.ones((x.shape[1], x.shape[1]), bool))
    for qkv, out, up, down in zip(*(layers[n::4] for n in range(4)), strict=True):
        x = x + _attention(x, mask, qkv, out)
        x = x + nn.gelu(_normal(x) @ up) @ down
    return _cross_entropy(_normal(x) @ head)


def _cross_entropy(logits: Any) -> Any:
    """Class k is right at place k, counted round."""
    places = jnp.arange(np.prod(logits.shape[:-1])) % logits.shape[-1]
    right = nn.one_hot(places, logits.shape[-1]).reshape(logits.shape)
    return -jnp.mean(jnp.sum(nn.log_softmax(logits) * right, -1))


def convnet(parameters: list[Any], x: Any) -> Any:
    """Convolutions with batch normalisation, each followed by a pooling; then classes."""
    *kernels, head = parameters
    for kernel in kernels:
        x = lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=CHANNELS)
        x = (x - x.mean((0, 1, 2))) * lax.rsqrt(x.var((0, 1, 2)) + 1e-5)
        x = nn.relu(x)
        x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return _cross_entropy(x.mean((1, 2)) @ head)


def scan_rnn(parameters: list[Any], xs: Any) -> Any:
    """A gated recurrent network over [time, batch, width]; classes from every state."""
    w, u, head = parameters

    def step(h: Any, x: Any) -> tuple[Any, Any]:
        gate, new = jnp.split(x @ w + h @ u, 2, axis=-1)
        h = h + nn.sigmoid(gate) * (jnp.tanh(new) - h)
        return h, h

    _, states = lax.scan(step, jnp.zeros((xs.shape[1], u.shape[0])), xs)
    return _cross_entropy(states @ head)


def layers(count: int, width: int) -> list[tuple[int, ...]]:
    """Parameters of ``transformer``."""
    one = [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)]
    return [*(one * count), (width, CLASSES)]


NETWORKS = (
    Network(
        "transformer",
        "4 layers, width 128, 4 x 64 places",
        transformer,
        layers(4, 128),
        (4, 64, 128),
    ),
    Network(
        "convnet",
        "3 layers, 16 images of 32 x 32",
        convnet,
        [(3, 3, 3, 16), (3, 3, 16, 32), (3, 3, 32, 64), (64, CLASSES)],
        (16, 32, 32, 3),
    ),
    Network(
        "scan-RNN",
        "128 turns, batch 32, width 128",
        scan_rnn,
        [(128, 256), (128, 256), (128, CLASSES)],
        (128, 32, 128),
    ),
)
DEEP = Network("12-layer transformer", "width 64", transformer, layers(12, 64), (2, 16, 64))
