"""What jax.export artifacts hold, and shapes that come with the call."""

from __future__ import annotations

from typing import Any

from jax import export
from jax._src.export import serialization_generated
from jax._src.interpreters import mlir
from jax._src.lib import _jax  # type: ignore[attr-defined]  # without __all__


def read_exported(data: bytes) -> Any:
    """The flatbuffer table of a jax.export artifact.

    Unlike ``jax.export.deserialize`` it needs no registered pytree types and builds nothing.
    """
    table: Any = serialization_generated.Exported  # generated code has no types
    return table.GetRootAsExported(data)


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


def refine_shapes(module: Any) -> bytes:
    """A module whose ``main`` has static inputs, with every `?` resolved, as bytecode.

    Raises jaxlib's XlaRuntimeError for what cannot be, or what the program asserts of its shapes.
    """
    refined: bytes = _jax.mlir.refine_polymorphic_shapes(
        mlir_module=mlir.module_to_bytecode(module),
        enable_shape_assertions=True,
        validate_static_shapes=True,
        enable_shardy=True,
    )
    return refined
