"""Equations of a jaxpr, and primitives with their rules.

Private names of jax (``jax.extend.core`` and ``jax.interpreters`` have some of them, and not all):

- ``Literal``, ``Primitive``, ``ShapedArray``: constants in equations, new primitives, the abstract
  values that their rules return.
- ``get_bind_params``: evaluates one equation, also one with inner jaxprs.
- ``register_lowering``, ``merge_mlir_modules``: let a primitive lower to a StableHLO module.
- ``deflinear2``, ``primitive_jvps``, ``Zero``: derivatives of primitives, symbolic zeros.
- ``defvectorized``, ``primitive_batchers``: batching rules of primitives.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax._src import core
from jax._src.interpreters import ad, mlir
from jax._src.interpreters import batching as batching_rules
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import func

Primitive: Any = core.Primitive


def is_literal(var: Any) -> bool:
    """Returns whether an input of an equation is a number rather than a variable."""
    return isinstance(var, core.Literal)


def is_zero(tangent: Any) -> bool:
    """Returns whether a tangent is a symbolic zero."""
    return isinstance(tangent, ad.Zero)  # type: ignore[attr-defined]  # without __all__


def shaped(shape: Sequence[int], dtype: Any) -> core.ShapedArray:
    """Returns the abstract value of an array."""
    return core.ShapedArray(tuple(shape), dtype)


def evaluate(equation: Any, values: Sequence[Any]) -> list[Any]:
    """Returns the outputs of a jaxpr's equation for values of its inputs."""
    params = equation.primitive.get_bind_params(equation.params)
    with equation.ctx.manager:
        outputs = equation.primitive.bind(*values, **params)
    return list(outputs) if equation.primitive.multiple_results else [outputs]


def linear_identity(name: str, transpose: Callable[..., Any]) -> Any:
    """Returns a new primitive that returns its input, with ``transpose`` as its transpose rule."""
    primitive = Primitive(name)
    primitive.def_impl(lambda x, **_: x)
    primitive.def_abstract_eval(lambda x, **_: x)
    mlir.register_lowering(primitive, lambda _, x, **__: [x])
    ad.deflinear2(primitive, transpose)
    batching_rules.defvectorized(primitive)
    return primitive


def register(
    primitive: Any,
    text_of: Callable[..., str],
    jvp: Callable[..., Any] | None = None,
    batching: Callable[..., Any] | None = None,
) -> None:
    """Gives a primitive its rules; it lowers to a StableHLO module that ``text_of`` writes.

    Args:
        primitive: The primitive; its abstract evaluation is the caller's.
        text_of: Returns the module's text for the parameters of an equation, and for the inputs'
            abstract values, ``avals``, if it has a parameter of that name.
        jvp: The rule for derivatives; without one there are none.
        batching: The rule for batches; without one there are none.
    """
    takes_avals = "avals" in inspect.signature(text_of).parameters

    def lower(context: Any, *operands: Any, **params: Any) -> Any:
        extra = {"avals": context.avals_in} if takes_avals else {}
        module = ir.Module.parse(text_of(**params, **extra))
        symbols: Any = ir.SymbolTable(module.operation)
        main = symbols["main"]
        outputs = main.type.results
        name = mlir.merge_mlir_modules(context.module_context.module, "imported", module)
        return func.CallOp(outputs, ir.FlatSymbolRefAttr.get(name), operands).results

    def run(*operands: Any, **params: Any) -> Any:
        return jax.jit(lambda *args: primitive.bind(*args, **params))(*operands)

    primitive.def_impl(run)
    mlir.register_lowering(primitive, lower)
    if jvp is not None:
        ad.primitive_jvps[primitive] = jvp
    if batching is not None:
        batching_rules.primitive_batchers[primitive] = batching
