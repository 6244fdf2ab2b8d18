"""Library calls that programs may make, with operands that a library may not expect.

``python -m benchmarks.gpu.odd_operands KINDS`` prints a line for each; a checker of memory watches.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

F32 = np.float32
Function = Callable[..., Any]

UNARY: dict[str, Function] = {
    "cholesky": jnp.linalg.cholesky,
    "qr": jnp.linalg.qr,
    "lu": jax.lax.linalg.lu,
    "eigh": jnp.linalg.eigh,
    "svd": jnp.linalg.svd,
    "solve": lambda x: jnp.linalg.solve(x, x),
    "triangular_solve": lambda x: jax.lax.linalg.triangular_solve(x, x, left_side=True),
    "tridiagonal": jax.lax.linalg.tridiagonal,
    "fft": jnp.fft.fft2,
    "sort": lambda x: jnp.sort(x, axis=-1),
    "top_k": lambda x: jax.lax.top_k(x, min(2, x.shape[-1])),
}


def matrices() -> dict[str, np.ndarray[Any, Any]]:
    """Returns square matrices by what is odd about them, the most telling first."""
    return {
        "singular": np.zeros((8, 8), F32),
        "nan": np.full((8, 8), np.nan, F32),
        "one": np.ones((1, 1), F32),
        "empty": np.ones((0, 0), F32),
        "no_batch": np.ones((0, 4, 4), F32),
        "batch": np.ones((3, 5, 5), F32),
        "infinite": np.full((33, 33), np.inf, F32),
    }


def cases(kinds: int) -> Iterator[tuple[str, Function, tuple[Any, ...]]]:
    """Gives a name, a function and its arguments, for so many kinds of matrices."""
    for odd, matrix in list(matrices().items())[:kinds]:
        for name, function in UNARY.items():
            yield f"{name} {odd}", function, (matrix,)
    for size in (2, 3):
        band = np.ones(size, F32)
        yield (
            f"tridiagonal_solve {size}",
            jax.lax.linalg.tridiagonal_solve,
            (
                band,
                np.zeros(size, F32),
                band,
                np.ones((size, 1), F32),
            ),
        )


def main(kinds: int) -> None:
    """Runs every case; JAX refuses some of them, which is as good."""
    for name, function, arguments in cases(kinds):
        try:
            jax.block_until_ready(jax.jit(function)(*arguments))
        except Exception as error:
            print(f"ran {name}: {type(error).__name__}", flush=True)
        else:
            print(f"ran {name}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
