"""The programs as StableHLO.

``python -m benchmarks.workloads.sources DIR NAME...`` writes them into DIR.  A NAME is a number of
bytes, for ``affine`` on messages of that size, or one of ``WRITERS``.
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


def write_affine(directory: Path, size_bytes: int) -> None:
    """``affine_<size>.mlir``, for messages of that size."""
    text = stablehlo(affine, np.zeros(size_bytes // 4, np.float32))
    (directory / f"affine_{size_bytes}.mlir").write_text(text)


def write_slow(directory: Path) -> None:
    """``slow.mlir``, which takes seconds to compile."""
    image = np.zeros((8, SLOW_WIDTH, SLOW_WIDTH, 4), np.float32)
    (directory / "slow.mlir").write_text(stablehlo(slow_to_compile, image))


def write_networks(directory: Path) -> None:
    """The loss of each of ``NETWORKS``, a file each."""
    for network in NETWORKS:
        text = stablehlo(network.loss, *network.inputs())
        (directory / f"{network.name}.mlir").write_text(text)


WRITERS: dict[str, Callable[[Path], None]] = {
    "slow": write_slow,
    "networks": write_networks,
    "training": training.write,
}


def main(directory: Path, names: list[str]) -> None:
    """Writes the files."""
    for name in names:
        if name.isdecimal():
            write_affine(directory, int(name))
        else:
            WRITERS[name](directory)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
