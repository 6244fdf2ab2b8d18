"""The programs as StableHLO: ``affine``, one that takes long to compile, losses of ``networks``,
the step of ``training``.

``python -m benchmarks.workloads.sources DIR SIZE...`` writes ``affine_<size>.mlir`` for messages of
that many bytes, ``slow.mlir``, and a file for each network.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.workloads import training
from benchmarks.workloads.networks import NETWORKS
from benchmarks.workloads.program import affine

SLOW_LAYERS = 70
SLOW_WIDTH = 24


def slow_to_compile(x: jax.Array) -> jax.Array:
    """f32[8,w,w,4] to the same: layers of different shapes, so that no kernel serves two.

    The compiler's time goes into one fusion, convolution or product a layer.
    """
    for layer in range(SLOW_LAYERS):
        width = 4 + layer % 13
        kernel = jnp.cos(jnp.arange(9.0 * 4 * width) + layer).reshape(3, 3, 4, width)
        x = jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        x = jnp.tanh(x * (layer + 1.5)) + jnp.sort(x, axis=1 + layer % 2)
        weights = jnp.sin(jnp.arange(4.0 * width) * layer).reshape(width, 4)
        x = jnp.einsum("bijc,cd->bijd", x, weights)
        x = x / (1e-3 + jnp.std(x, axis=layer % 4, keepdims=True))
    return x


def stablehlo(function: Callable[..., jax.Array], *inputs: Any) -> str:
    """The text of a function."""
    text: str = jax.jit(function).lower(*inputs).as_text()
    return text


def main(directory: Path, sizes: list[int]) -> None:
    """Write the files."""
    for size in sizes:
        text = stablehlo(affine, np.zeros(size // 4, np.float32))
        (directory / f"affine_{size}.mlir").write_text(text)
    image = np.zeros((8, SLOW_WIDTH, SLOW_WIDTH, 4), np.float32)
    (directory / "slow.mlir").write_text(stablehlo(slow_to_compile, image))
    for network in NETWORKS:
        text = stablehlo(network.loss, *network.inputs())
        (directory / f"{network.name}.mlir").write_text(text)
    training.write(directory)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(word) for word in sys.argv[2:]])
