"""Values that are no arrays: tuples, tokens, and the futures of asynchronous operations.

Specification: https://github.com/openxla/stablehlo/blob/main/docs/spec.md#tuple,
#get_tuple_element, #after_all, #infeed, #outfeed, #send, #recv.
"""

from __future__ import annotations

from typing import Any

from jaxfs.stablehlo.importer.op import Operation, Rule

TOKEN = object()  # imported programs have no effects that need an order


def make_tuple(operation: Operation, *operands: Any) -> Any:
    """Imports a tuple of the operands; it exists at import only, JAX has arrays alone."""
    return tuple(operands)


def get_tuple_element(operation: Operation, operand: Any) -> Any:
    """Imports the choice of a tuple's element, by ``index`` from 0."""
    return operand[operation.integer("index")]


def token(operation: Operation, *tokens: Any) -> Any:
    """Imports an operation that makes a token, whether from other tokens or from nothing.

    Returns:
        ``TOKEN``, the same for all.
    """
    return TOKEN


def async_start(operation: Operation, *operands: Any) -> Any:
    """Computes the operation at once; its future is the tuple of its results."""
    return tuple(operation.region()(*operands))


def async_done(operation: Operation, future: Any) -> Any:
    """Imports the wait for an asynchronous operation, which has been computed at its start.

    Returns:
        Its result, or the tuple of all if there are several.
    """
    return future if len(future) != 1 else future[0]


def host_transfer(operation: Operation, *operands: Any) -> Any:
    """Refuses infeed, outfeed, send and recv: no host code runs beside a program.

    Raises:
        CannotImport: Always.
    """
    raise operation.unsupported("it talks to the host; a program here cannot")


RULES: dict[str, Rule] = {
    "stablehlo.tuple": make_tuple,
    "stablehlo.get_tuple_element": get_tuple_element,
    "stablehlo.after_all": token,
    "stablehlo.create_token": token,
    "stablehlo.async_start": async_start,
    "stablehlo.async_done": async_done,
    "stablehlo.infeed": host_transfer,
    "stablehlo.outfeed": host_transfer,
    "stablehlo.send": host_transfer,
    "stablehlo.recv": host_transfer,
}
