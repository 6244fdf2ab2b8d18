"""Going through a module's operations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jaxlib.mlir import ir


def operations(root: Any) -> Iterator[tuple[Any, int]]:
    """Every operation below ``root`` with its depth, in program order, without recursion."""
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
    """``line 3: `` where the operation's line in the user's text is known, else nothing."""
    return at_line(operation.location)


def at_line(location: Any) -> str:
    """``line 3: `` for a place in a text.  Never prints a location: small ones can be endless."""
    is_text = isinstance(location, ir.FileLineColLoc) and location.filename == "-"
    # bytecode has no lines and says 0
    return f"line {location.start_line}: " if is_text and location.start_line else ""


def functions(module: Any) -> dict[str, Any]:
    """The module's functions by name."""
    return {
        op.attributes["sym_name"].value: op.operation
        for op in module.body.operations
        if op.operation.name == "func.func"
    }
