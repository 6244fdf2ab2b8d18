"""What plain JAX reports once its context is broken.

``python -m benchmarks.gpu.poisoned_context KIND``: KIND is one of ``cuda_poison.KERNELS``.  Each
line is what one call of JAX does; a process that aborts leaves the lines before.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.gpu.cuda_poison import DriverError, poison

CHARACTERS = 400


def main(kind: str) -> None:
    """Breaks the context and calls JAX in every way that an engine does."""
    double = jax.jit(lambda x: x + x)
    x = double(jnp.ones(8)).block_until_ready()
    large = jax.jit(lambda y: jnp.broadcast_to(y, (1 << 20,)))(1.0).block_until_ready()
    show("driver", lambda: poison(kind))
    calls: dict[str, Callable[[], object]] = {
        "run": lambda: double(x),
        "run_and_wait": lambda: double(x).block_until_ready(),
        "from_host": lambda: double(np.ones(8, np.float32)).block_until_ready(),
        "device_put": lambda: jax.device_put(np.ones(8)).block_until_ready(),
        "large_device_put": lambda: jax.device_put(np.ones(1 << 20)).block_until_ready(),
        "asarray": lambda: np.asarray(large)[:1],
        "is_ready": lambda: double(x).is_ready(),
        "memory_stats": lambda: len(jax.devices()[0].memory_stats() or {}),
        "compile": lambda: jax.jit(lambda y: y * 3)(x).block_until_ready(),
    }
    for name, call in calls.items():
        show(name, call)


def show(name: str, call: Callable[[], object]) -> None:
    """Prints the error's type and words, or that there was none."""
    try:
        found = call()
        words = str(found)[:CHARACTERS] if name == "driver" else "no error"
    except DriverError as error:
        words = f"DriverError: {error}"
    except Exception as error:
        words = f"{type(error).__name__}: {error}"[:CHARACTERS]
    print(json.dumps([name, words]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
