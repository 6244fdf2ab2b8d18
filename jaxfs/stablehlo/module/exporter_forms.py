"""What other exporters write in forms of their own becomes what JAX would write."""

from __future__ import annotations

from typing import Any

from jaxfs.stablehlo.module.exporter_calls import read_call
from jaxfs.stablehlo.module.exporter_constants import CONSTANTS, Resources, make_dense
from jaxfs.stablehlo.module.walk import operations


def read_exporter_forms(module: Any) -> None:
    """Replaces custom calls, constants and tuples that stand for plain values by these.

    Raises:
        Invalid: One of them is damaged, or has no such operation.
    """
    resources, tuples = Resources(module), list[Any]()
    with module.context:
        for operation in [operation for operation, _ in operations(module.operation)]:
            if operation.name == "stablehlo.custom_call":
                read_call(operation)
            elif operation.name in CONSTANTS:
                make_dense(operation, resources)
            elif operation.name == "stablehlo.get_tuple_element":
                _take_element(operation)
            elif operation.name == "stablehlo.tuple":
                tuples.append(operation)
    for operation in reversed(tuples):  # inner ones come first
        if not any(True for _ in operation.results[0].uses):
            operation.erase()


def _take_element(operation: Any) -> None:
    """Replaces an element of a tuple that the program makes by the value in it."""
    owner = operation.operands[0].owner
    if getattr(owner, "name", "") == "stablehlo.tuple":
        index = operation.attributes["index"].value
        operation.results[0].replace_all_uses_with(owner.operands[index])
        operation.erase()
