"""Composites whose names compilers know, and whose decompositions are others.

XLA replaces ``stablehlo.composite "chlo.erf"`` by its own erf and never looks at the decomposition,
which by the specification is what the composite computes:
https://github.com/openxla/stablehlo/blob/main/docs/spec.md#composite.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from jax import lax
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import func

from jaxfs.stablehlo.expansions.library import (
    ELEMENTWISE,
    WHOLE,
    Body,
    bodies,
    bodies_for,
)
from jaxfs.stablehlo.expansions.matching import Match
from jaxfs.stablehlo.expansions.terms import Reader, SeenValue, type_of
from jaxfs.stablehlo.module.walk import functions, operations
from jaxfs.types.avals import BY_MLIR

_COMPILERS = ("chlo.", "mhlo.", "stablehlo.", "xla.")  # dialects from which XLA takes names


def settle_composites(module: Any) -> None:
    """Replaces composites that XLA would misread by calls of their decompositions.

    Those whose decomposition is JAX's stay: XLA compiles them better than their decompositions.
    """
    reader = Reader(functions(module))
    for operation in [operation for operation, _ in operations(module.operation)]:
        if operation.name != "stablehlo.composite":
            continue
        name = ir.StringAttr(operation.attributes["name"]).value
        if name.startswith(_COMPILERS) and not _is_what_it_is_called(reader, operation, name):
            _replace_by_call(operation)


def _is_what_it_is_called(reader: Reader, operation: Any, name: str) -> bool:
    return any(_is_body(reader, operation, body) for body in _expected(operation, name))


def _expected(operation: Any, name: str) -> tuple[Body, ...]:
    """Returns the bodies of the function that a composite is called after; none if unknown."""
    dialect, _, short = name.partition(".")
    if dialect != "chlo" or not len(operation.operands):
        return ()
    element, shape = type_of(operation.operands[0])
    if short in ELEMENTWISE:
        return bodies(element, (short,))
    if short == "top_k" and element in BY_MLIR:
        size = type_of(operation.results[0])[1][-1:]
        return bodies_for(_top_k(*size), ((shape, BY_MLIR[element].numpy),)) if size else ()
    return ()


@cache
def _top_k(k: int) -> Callable[..., Any]:
    return lambda x: tuple(lax.top_k(x, k))


def _is_body(reader: Reader, operation: Any, body: Body) -> bool:
    """Returns whether a composite computes a body, of its operands in their order."""
    if len(operation.results) != len(body.results):
        return False
    _, shape = type_of(operation.results[0])
    match = Match(reader, shape, WHOLE) if body.is_elementwise else Match(reader)
    match.bind([reader.resolve(SeenValue(operand)).value for operand in operation.operands])
    pairs = zip(body.results, operation.results, strict=True)
    return all(match.holds(term, SeenValue(value)) for term, value in pairs)


def _replace_by_call(operation: Any) -> None:
    types = [result.type for result in operation.results]
    with ir.InsertionPoint(operation), operation.location:
        call = func.CallOp(types, operation.attributes["decomposition"], list(operation.operands))
    for result, found in zip(operation.results, call.results, strict=True):
        result.replace_all_uses_with(found)
    operation.erase()
