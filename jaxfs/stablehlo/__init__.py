"""StableHLO modules: parsing, checks, pictures, and import as JAX functions.

- ``module``: one module, its types and names, its canonical form;
- ``validate``: the checks that a module must pass;
- ``importer``: a module as a function that JAX can transform;
- ``graph``: a module as a picture.

``import_module`` is imported at its first use: the importer needs all of jax.numpy, and most
jobs of the compiler need only ``module`` and ``validate``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxfs.stablehlo.importer import import_module

__all__ = ["import_module"]


def __getattr__(name: str) -> Any:
    if name == "import_module":
        from jaxfs.stablehlo.importer import import_module  # noqa: PLC0415 - at its first use

        return import_module
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
