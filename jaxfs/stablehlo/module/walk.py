"""Iteration over a module's operations and functions, and their lines for messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jaxlib.mlir import ir


def operations(root: Any) -> Iterator[tuple[Any, int]]:
    """Yields every operation below ``root`` with its depth, in program order.

    It does not recurse, so that a deep module cannot overflow the stack.
    """
    stack = [(root, 0)]
    while stack:
        operation, depth = stack.pop()
        if depth:
            yield operation, depth
        children = [
            child.operation
            for region in operation.regions
            for block in region.blocks
            for child in block.operations
        ]
        stack.extend((child, depth + 1) for child in reversed(children))


def place(operation: Any) -> str:
    """Returns ``line 3: `` if the operation's line in the user's text is known, else nothing."""
    return at_line(operation.location)


def at_line(location: Any) -> str:
    """Returns ``line 3: `` for a location in a text, else nothing.

    A location is never printed as a whole: nested ones can be small in memory and endless in print.
    """
    is_text = isinstance(location, ir.FileLineColLoc) and location.filename == "-"
    # in bytecode the line is 0
    return f"line {location.start_line}: " if is_text and location.start_line else ""


def functions(module: Any) -> dict[str, Any]:
    """Returns the module's functions by name."""
    return {
        op.attributes["sym_name"].value: op.operation
        for op in module.body.operations
        if op.operation.name == "func.func"
    }
