"""What a module must be before jaxfs compiles it.

MLIR's verifier has passed already; these are the rules it does not know: nothing that reaches
outside (host transfers, unknown native code), nothing known to end the compiler.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

from jaxfs.errors import Invalid
from jaxfs.stablehlo.module import partitions
from jaxfs.stablehlo.module.entry_function import find_main
from jaxfs.stablehlo.module.mlir_types import spelled, why_not_array
from jaxfs.stablehlo.module.nesting import MAX_REGIONS
from jaxfs.stablehlo.module.walk import functions, operations, place
from jaxfs.stablehlo.validate.dangerous_operations import COLLECTIVES, RULES, why_not_collective

MAX_OPERATIONS = 10_000_000  # with every call inlined, as XLA does

_DIALECTS = ("stablehlo.", "chlo.")
_OTHER_OPERATIONS = frozenset({"func.func", "func.call", "func.return"})
_HOST_TRANSFERS = frozenset(f"stablehlo.{name}" for name in ("infeed", "outfeed", "send", "recv"))


def check_module(module: Any) -> None:
    """Raise Invalid for what jaxfs does not run, with the line where it is known."""
    find_main(module)
    device_count = partitions.partition_count(module)
    allowed_types: set[Any] = set()
    for operation, depth in operations(module.operation):
        if depth > MAX_REGIONS:
            raise Invalid(f"{place(operation)}nested over {MAX_REGIONS} deep; flatten the program")
        _check_operation(operation, device_count)
        _check_types(operation, allowed_types)
    _check_call_graph(functions(module))


def _check_operation(operation: Any, device_count: int) -> None:
    name = operation.name
    is_shardy = device_count > 1 and name in partitions.OPERATIONS
    if name in _HOST_TRANSFERS:
        raise Invalid(f"{place(operation)}{name} talks to the host; a program here cannot")
    if not (name.startswith(_DIALECTS) or name in _OTHER_OPERATIONS or is_shardy):
        raise Invalid(f"{place(operation)}{name} is no StableHLO operation")
    rule = RULES.get(name)
    why = rule(operation) if rule else None
    if name in COLLECTIVES:
        why = why_not_collective(operation, device_count)
    if why:
        raise Invalid(f"{place(operation)}{why}")


def _check_types(operation: Any, allowed: set[Any]) -> None:
    for mlir_type in _types(operation):
        if mlir_type in allowed:
            continue
        why = None if _is_harmless(mlir_type) else why_not_array(mlir_type)
        if why:
            words = f"has a value of type {spelled(mlir_type)}: {why}"
            raise Invalid(f"{place(operation)}{operation.name} {words}")
        allowed.add(mlir_type)


def _is_harmless(mlir_type: Any) -> bool:
    return stablehlo.TokenType.isinstance(mlir_type) or isinstance(mlir_type, ir.NoneType)


def _types(operation: Any) -> Iterator[Any]:
    for value in operation.results:
        yield value.type
    for region in operation.regions:
        for block in region.blocks:
            for argument in block.arguments:
                yield argument.type


def _check_call_graph(found: dict[str, Any]) -> None:
    bodies = {name: _body(function) for name, function in found.items()}
    sizes: dict[str, int] = {}
    for root in bodies:
        _expand(root, bodies, sizes)


def _expand(root: str, bodies: dict[str, tuple[int, list[str]]], sizes: dict[str, int]) -> None:
    """Depth first with a list for a stack; ``path`` holds the functions being expanded."""
    stack, path = [root], set[str]()
    while stack:
        name = stack[-1]
        own, callees = bodies[name]
        waiting = [callee for callee in callees if callee in bodies and callee not in sizes]
        if name in sizes or not waiting:
            sizes[name] = own + sum(sizes[callee] for callee in callees if callee in sizes)
            _check_size(name, sizes[name])
            path.discard(name)
            stack.pop()
            continue
        path.add(name)
        if waiting[0] in path:
            raise Invalid(f"@{waiting[0]} calls itself; StableHLO has no recursion, use while")
        stack.append(waiting[0])


def _check_size(name: str, size: int) -> None:
    if size > MAX_OPERATIONS:
        raise Invalid(f"@{name} is over {MAX_OPERATIONS} operations with its calls inlined")


def _body(function: Any) -> tuple[int, list[str]]:
    count, callees = 0, list[str]()
    for operation, _ in operations(function):
        count += 1
        callees.extend(_symbols(operation))
    return count, callees


def _symbols(operation: Any) -> Iterable[str]:
    for name in ("callee", "decomposition", "called_computations"):
        if name in operation.attributes:
            attribute = operation.attributes[name]
            several: Iterable[Any] = (
                attribute if isinstance(attribute, ir.ArrayAttr) else [attribute]
            )
            yield from (symbol.value for symbol in several)
