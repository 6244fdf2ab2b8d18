"""Going through a module's operations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_PLACE = re.compile(r'"-":(\d+):')


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
    found = _PLACE.search(str(operation.location))
    return f"line {found[1]}: " if found else ""


def functions(module: Any) -> dict[str, Any]:
    """The module's functions by name."""
    return {
        op.attributes["sym_name"].value: op.operation
        for op in module.body.operations
        if op.operation.name == "func.func"
    }
