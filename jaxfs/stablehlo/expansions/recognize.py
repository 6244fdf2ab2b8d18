"""Finds the operations of a module that finish the body of one of JAX's functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import attrs
from jaxlib.mlir import ir

from jaxfs.stablehlo.expansions.library import (
    NAMED,
    WHOLE,
    Body,
    bodies_by_operation,
    bodies_for,
)
from jaxfs.stablehlo.expansions.matching import Match
from jaxfs.stablehlo.expansions.terms import Reader, SeenValue, returned_by, type_of
from jaxfs.stablehlo.module.walk import functions, operations
from jaxfs.types.avals import BY_MLIR

_NUMBER = re.compile(r"_\d+\Z")
_ELEMENTS = frozenset({"bf16", "f16", "f32", "f64", "complex<f32>", "complex<f64>"})
# Their regions combine two elements, and are imported as a whole.
_REDUCERS = frozenset(
    f"stablehlo.{name}" for name in ("reduce", "reduce_window", "scatter", "select_and_scatter")
)
_HINTS = frozenset(f"stablehlo.{name}" for name in ("select", "composite", "log"))  # one is in each


@attrs.frozen
class Known:
    """An operation that computes a function of JAX.

    Attributes:
        apply: The function.
        arguments: The values to which it is applied.
    """

    apply: Callable[..., Any]
    arguments: tuple[Any, ...]


def recognize(module: Any) -> dict[Any, Known]:
    """Returns the operations of a module whose results are those of a function of JAX."""
    reader = Reader(functions(module))
    found: dict[Any, Known] = {}
    every = [operation for operation, _ in operations(module.operation)]
    names = {operation.name for operation in every}
    is_expanded = not names.isdisjoint(_HINTS)
    for operation in every:
        known = _named(reader, operation) if operation.name == "func.call" else None
        if operation.parent.name in _REDUCERS:
            continue
        if known is None and is_expanded and len(operation.results) == 1:
            known = _elementwise(reader, operation)
        if known is not None:
            found[operation] = known
    return found


def _elementwise(reader: Reader, operation: Any) -> Known | None:
    """Returns the elementwise function whose body an operation finishes."""
    result = operation.results[0]
    element, shape = type_of(result)
    if element not in _ELEMENTS:
        return None
    place = reader.resolve(SeenValue(result))  # a body may end with a call of a function of its own
    if isinstance(place.value.owner, ir.Block):
        return None
    name = place.value.owner.operation.name
    for body in bodies_by_operation(element).get(name, ()):
        match = Match(reader, shape, WHOLE)
        if match.holds(body.results[0], place):
            found = [match.arguments.get(index) for index in range(len(match.arguments))]
            if all(one is not None and one.call is None for one in found):
                return Known(body.apply, tuple(one.value for one in found if one))
    return None


def _named(reader: Reader, call: Any) -> Known | None:
    """Returns the function that a call is of, if its name and its body are JAX's."""
    name = _NUMBER.sub("", ir.FlatSymbolRefAttr(call.attributes["callee"]).value)
    function, block = NAMED.get(name), reader.body(call, "callee")
    if function is None or block is None:
        return None
    types = [type_of(value) for value in call.operands]
    if any(element not in _ELEMENTS for element, _ in types):
        return None
    key = tuple((shape, BY_MLIR[element].numpy) for element, shape in types)
    for body in bodies_for(function, key):
        if is_body(reader, block, body):
            return Known(function, tuple(call.operands))
    return None


def is_body(reader: Reader, block: Any, body: Body) -> bool:
    """Returns whether a function's block computes what a body does, of the same arguments."""
    values = returned_by(block)
    if len(values) != len(body.results):
        return False
    match = Match(reader)
    match.bind(list(block.arguments))
    return _all_hold(match, body, values)


def _all_hold(match: Match, body: Body, values: Sequence[Any]) -> bool:
    pairs = zip(body.results, values, strict=True)
    return all(match.holds(term, SeenValue(value)) for term, value in pairs)
