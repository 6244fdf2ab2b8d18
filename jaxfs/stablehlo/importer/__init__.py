"""StableHLO -> a function JAX can trace.

A module is walked, each operation becomes an expression of jax.lax, and regions become closures; so
grad, vmap, jvp, vjp, jit ... apply to a program from anywhere.  ``table.RULES`` has a function for
each operation; those without one run as they are (``opaque``): they can be called and batched,
and say so when asked for a derivative.

    from jaxfs.stablehlo import import_module
    f = import_module(open("model.mlir").read())
    jax.grad(lambda x: f(x)[0].sum())(x)

What a StableHLO file cannot tell: ``stop_gradient`` and ``custom_vjp`` are gone after lowering, so
derivatives are those of what is computed.  (Where a maximum's derivative adds up to nothing, as in
softmax, ``shifts`` finds that out again.)
"""

from __future__ import annotations

from typing import Any

from jaxfs.jaxcompat import mlir
from jaxfs.stablehlo.importer.interpreter import ImportedFunction
from jaxfs.stablehlo.importer.rule_table import RULES
from jaxfs.stablehlo.module.argument_names import argument_names
from jaxfs.stablehlo.module.parse import parse_bytecode, parse_text

__all__ = ["RULES", "ImportedFunction", "import_module"]


def import_module(source: Any, *, context: Any = None) -> ImportedFunction:
    """The function of a module: text, bytecode (or a portable artifact), or a parsed module.

    ``context`` is the MLIR context to parse in, by default one of its own.  Raises Invalid for what
    is no module; what cannot be imported is found when it is traced.
    """
    if isinstance(source, str):
        module = parse_text(context or mlir.make_context(), source)
        return ImportedFunction(module, argument_names(source))
    if isinstance(source, bytes):
        source = parse_bytecode(context or mlir.make_context(), source, "a module")
    return ImportedFunction(source)
