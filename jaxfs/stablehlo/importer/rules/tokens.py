"""Values that are no arrays: tuples, tokens, and what an asynchronous operation will give."""

from __future__ import annotations

from typing import Any

from jaxfs.stablehlo.importer.op import Operation, imports

TOKEN = object()  # programs here have no effects to be kept in order


@imports("stablehlo.tuple")
def make_tuple(operation: Operation, *operands: Any) -> Any:
    return tuple(operands)


@imports("stablehlo.get_tuple_element")
def get_tuple_element(operation: Operation, operand: Any) -> Any:
    return operand[operation.integer("index")]


@imports("stablehlo.after_all", "stablehlo.create_token")
def token(operation: Operation, *tokens: Any) -> Any:
    return TOKEN


@imports("stablehlo.async_start")
def async_start(operation: Operation, *operands: Any) -> Any:
    """It is computed when it is started."""
    return tuple(operation.region()(*operands))


@imports("stablehlo.async_done")
def async_done(operation: Operation, future: Any) -> Any:
    return future if len(future) != 1 else future[0]


@imports("stablehlo.infeed", "stablehlo.outfeed", "stablehlo.send", "stablehlo.recv")
def host_transfer(operation: Operation, *operands: Any) -> Any:
    raise operation.refuse("it talks to the host; a program here cannot")
