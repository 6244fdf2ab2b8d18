"""The contents of jax.export artifacts, and shapes that are known with a call.

Private names of jax:

- ``serialization_generated``, with ``Exported``, ``PyTreeDefKind`` and ``DType``: the flatbuffer
  schema.  ``jax.export.deserialize`` needs the user's pytree types registered.
- ``_jax``, with ``refine_polymorphic_shapes``: resolves dynamic shapes.  ``Exported.call`` does it
  only while it traces a call.
- ``module_to_bytecode``: the input that ``refine_polymorphic_shapes`` takes.
"""

from __future__ import annotations

from typing import Any

from jax import export
from jax._src.export import serialization_generated
from jax._src.interpreters import mlir
from jax._src.lib import _jax  # type: ignore[attr-defined]  # without __all__

CALLING_CONVENTIONS = range(  # of the jax.export artifacts this jax reads
    export.minimum_supported_calling_convention_version,
    export.maximum_supported_calling_convention_version + 1,
)
PYTREE_KINDS = {
    number: name
    for name, number in vars(serialization_generated.PyTreeDefKind).items()
    if isinstance(number, int)
}
EXPORTED_DTYPES = {
    number: name
    for name, number in vars(serialization_generated.DType).items()
    if isinstance(number, int)
}


def read_exported(data: bytes) -> Any:
    """Returns the flatbuffer table of a jax.export artifact.

    Unlike ``jax.export.deserialize`` it needs no registered pytree types and builds nothing.
    """
    table: Any = serialization_generated.Exported  # generated code has no types
    return table.GetRootAsExported(data)


def refine_shapes(module: Any) -> bytes:
    """Resolves every `?` of a module whose ``main`` has static inputs.

    Returns:
        The module as MLIR bytecode.

    Raises:
        XlaRuntimeError: The shapes do not fit the program, or violate what it asserts of them.
    """
    refined: bytes = _jax.mlir.refine_polymorphic_shapes(
        mlir_module=mlir.module_to_bytecode(module),
        enable_shape_assertions=True,
        validate_static_shapes=True,
        enable_shardy=True,
    )
    return refined
