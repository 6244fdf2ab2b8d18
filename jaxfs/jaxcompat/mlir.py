"""MLIR contexts, and the versions of the compiler.

Private names of jax:

- ``make_ir_context``: registers the dialects that jax's bindings hold.  ``jax.extend.mlir`` has
  them without a way to make a context.
"""

from __future__ import annotations

from typing import Any

import jax
import jaxlib.version
from jax._src.interpreters import mlir
from jaxlib.mlir.dialects import stablehlo


def toolchain() -> str:
    """Returns the versions that a compiled executable depends on: ``jax 0.12.0 jaxlib 0.12.0``."""
    return f"jax {jax.__version__} jaxlib {jaxlib.version.__version__}"


def make_context() -> Any:
    """Returns a new MLIR context with jax's dialects, StableHLO and CHLO among them.

    It starts no threads, so a process that holds one may fork.
    """
    context = mlir.make_ir_context()
    context.enable_multithreading(False)
    stablehlo.register_stablehlo_passes()
    return context
