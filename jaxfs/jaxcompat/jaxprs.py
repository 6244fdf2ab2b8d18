"""Equations of a jaxpr, and primitives with their rules."""

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


def is_literal(var: Any) -> bool:
    """Whether an input of an equation is a number rather than a variable."""
    return isinstance(var, core.Literal)


def evaluate(equation: Any, values: Sequence[Any]) -> list[Any]:
    """What an equation of a jaxpr gives for values of its inputs."""
    params = equation.primitive.get_bind_params(equation.params)
    with equation.ctx.manager:
        found = equation.primitive.bind(*values, **params)
    return list(found) if equation.primitive.multiple_results else [found]


Primitive: Any = core.Primitive


def linear_identity(name: str, transpose: Callable[..., Any]) -> Any:
    """A primitive that gives what it takes, and says by ``transpose`` what comes back."""
    primitive = Primitive(name)
    primitive.def_impl(lambda x, **_: x)
    primitive.def_abstract_eval(lambda x, **_: x)
    mlir.register_lowering(primitive, lambda _, x, **__: [x])
    ad.deflinear2(primitive, transpose)  # type: ignore[no-untyped-call]  # jax has no types here
    batching_rules.defvectorized(primitive)  # type: ignore[no-untyped-call]  # as above
    return primitive


def is_zero(tangent: Any) -> bool:
    """Whether a tangent is a symbolic zero."""
    return isinstance(tangent, ad.Zero)  # type: ignore[attr-defined]  # without __all__


def shaped(shape: Sequence[int], dtype: Any) -> core.ShapedArray:
    """The abstract value of an array."""
    return core.ShapedArray(tuple(shape), dtype)


def register(
    primitive: Any,
    text_of: Callable[..., str],
    jvp: Callable[..., Any] | None = None,
    batching: Callable[..., Any] | None = None,
) -> None:
    """Let a primitive lower to the StableHLO module that ``text_of`` writes for its parameters.

    ``text_of`` gets the inputs' abstract values as ``avals`` too, where it takes them.
    """
    takes_avals = "avals" in inspect.signature(text_of).parameters

    def lower(context: Any, *operands: Any, **params: Any) -> Any:
        extra = {"avals": context.avals_in} if takes_avals else {}
        module = ir.Module.parse(text_of(**params, **extra))
        main: Any = next(iter(module.body.operations))
        outputs = main.type.results
        name = mlir.merge_mlir_modules(context.module_context.module, "imported", module)
        return func.CallOp(outputs, ir.FlatSymbolRefAttr.get(name), operands).results

    def evaluate(*operands: Any, **params: Any) -> Any:
        return jax.jit(lambda *args: primitive.bind(*args, **params))(*operands)

    primitive.def_impl(evaluate)
    mlir.register_lowering(primitive, lower)
    if jvp is not None:
        ad.primitive_jvps[primitive] = jvp
    if batching is not None:
        batching_rules.primitive_batchers[primitive] = batching
