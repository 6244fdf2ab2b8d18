"""The program: y = 2 * x + 1, the same for all peers.

Imports jax, so only servers and child processes use it.
"""

from __future__ import annotations

import jax
import numpy as np
from numpy.typing import NDArray


def affine(x: jax.Array) -> jax.Array:
    """f32[n] to f32[n]."""
    return 2.0 * x + 1.0


_jitted = jax.jit(affine)


def call_affine(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run it and wait; the result shares memory with the device's buffer."""
    return np.asarray(_jitted(x))
