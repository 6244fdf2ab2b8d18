"""StableHLO <-> JAX: signatures, dtypes, the checks a module must pass, and modules as functions.

``signature`` is plain data and imports neither jax nor MLIR: the front reads signatures, only the
tracer and the engine make them.  So ``import_module`` comes with its first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxfs.stablehlo.importer import import_module

__all__ = ["import_module"]


def __getattr__(name: str) -> Any:
    if name == "import_module":
        from jaxfs.stablehlo.importer import import_module

        return import_module
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
