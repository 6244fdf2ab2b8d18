"""Import of StableHLO: a module as a function that JAX can trace.

A module is walked, each operation becomes an expression of jax.lax, and regions become closures; so
grad, vmap, jvp, vjp and jit apply to a program of any origin.

>>> import jax
>>> from jaxfs.stablehlo import import_module
>>> text = jax.jit(lambda x: x**3).lower(2.0).as_text()
>>> cube = import_module(text)
>>> float(jax.grad(lambda x: cube(x)[0])(2.0))
12.0

``rule_table.RULES`` has a function for each operation that is imported.  Operations without one run
as they are (``opaque``): they can be called and batched, and raise an error that names them when a
derivative is asked for.

A StableHLO file does not contain all that JAX knows: ``stop_gradient`` and ``custom_vjp`` are gone
after lowering, so derivatives are those of what is computed.  ``rewrites`` recognizes the maximum
of a softmax and the quotient of a sigmoid, and restores their derivatives.  Other functions that
JAX writes out (``erfc``, ``logaddexp``, complex ``sqrt``) are found by their bodies, see
``expansions``.

To add a rule for an operation:

1. Write a function in the module of ``rules`` for its section of the specification.  It takes an
   ``Operation``, for attributes, types and regions, and the operands' values, and returns the value
   of the result, or a list of values if there are several.  Raise ``operation.unsupported(why)``
   for forms that JAX cannot express, or return ``import_opaque(operation, *operands)``.
2. Add it to the module's ``RULES`` under the operation's full name: ``"stablehlo.sine": sine``.  A
   new module also goes into ``rule_table``, which refuses a second rule for the same name.
3. Add a program to ``tests/stablehlo/importer/stablehlo_cases.py`` (or ``chlo_cases.py``).  It is
   compared with what XLA computes, and ``docs/reports/ops.md`` gets its row.
"""

from __future__ import annotations

from typing import Any

from jaxfs.jaxcompat.mlir import make_context
from jaxfs.stablehlo.importer.interpreter import ImportedFunction
from jaxfs.stablehlo.importer.rule_table import RULES
from jaxfs.stablehlo.module.argument_names import argument_names
from jaxfs.stablehlo.module.parse import parse_bytecode, parse_text

__all__ = ["RULES", "ImportedFunction", "import_module"]


def import_module(source: Any, *, context: Any = None) -> ImportedFunction:
    """Returns the main function of a module, as a function of flat arrays.

    Args:
        source: StableHLO text, MLIR bytecode, a portable artifact, or a parsed module.
        context: The MLIR context to parse in; a new one by default.

    Raises:
        Invalid: ``source`` is no module.  Operations that cannot be imported raise NotSupported
            later, when the function is traced.
    """
    if isinstance(source, str):
        module = parse_text(context or make_context(), source)
        return ImportedFunction(module, argument_names(source))
    if isinstance(source, bytes):
        source = parse_bytecode(context or make_context(), source, "a module")
    return ImportedFunction(source)
