"""The checks that a module must pass before jaxfs compiles it.

MLIR's verifier has passed already.  These are the rules it does not have: nothing that reaches
outside (host transfers, unknown native code), and nothing that is known to crash the compiler.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

from jaxfs.errors import Invalid
from jaxfs.stablehlo.module import partitions
from jaxfs.stablehlo.module.entry_function import find_main
from jaxfs.stablehlo.module.mlir_types import type_text, why_not_array
from jaxfs.stablehlo.module.nesting import MAX_REGIONS
from jaxfs.stablehlo.module.walk import functions, operations, place
from jaxfs.stablehlo.validate.custom_call_targets import why_not_on
from jaxfs.stablehlo.validate.dangerous_operations import CHECKS, COLLECTIVES, why_not_collective

MAX_OPERATIONS = 10_000_000  # with every call inlined, as XLA inlines them

_DIALECTS = ("stablehlo.", "chlo.")
_OTHER_OPERATIONS = frozenset({"func.func", "func.call", "func.return"})
_HOST_TRANSFERS = frozenset(f"stablehlo.{name}" for name in ("infeed", "outfeed", "send", "recv"))


def check_module(module: Any) -> None:
    """Checks everything that jaxfs requires of a module.

    Raises:
        Invalid: The module cannot run here; the message has the line if it is known.
    """
    find_main(module)
    device_count = partitions.partition_count(module)
    allowed_types: set[Any] = set()
    for operation, depth in operations(module.operation):
        if depth > MAX_REGIONS:
            raise Invalid(f"{place(operation)}nested over {MAX_REGIONS} deep; flatten the program")
        _check_operation(operation, device_count)
        _check_types(operation, allowed_types)
    _check_call_graph(functions(module))


def check_platform(module: Any, platform: str) -> None:
    """Checks that a module has no native code of other platforms.

    Raises:
        Invalid: It was lowered for another one.
    """
    for operation, _ in operations(module.operation):
        if operation.name == "stablehlo.custom_call":
            target = operation.attributes["call_target_name"].value
            if why := why_not_on(target, platform):
                raise Invalid(f"{place(operation)}custom call @{target} {why}")


def _check_operation(operation: Any, device_count: int) -> None:
    name = operation.name
    is_shardy = device_count > 1 and name in partitions.OPERATIONS
    if name in _HOST_TRANSFERS:
        raise Invalid(f"{place(operation)}{name} talks to the host; a program here cannot")
    if not (name.startswith(_DIALECTS) or name in _OTHER_OPERATIONS or is_shardy):
        raise Invalid(f"{place(operation)}{name} is no StableHLO operation")
    check = CHECKS.get(name)
    why = check(operation) if check else None
    if name in COLLECTIVES:
        why = why_not_collective(operation, device_count)
    if why:
        raise Invalid(f"{place(operation)}{why}")


def _check_types(operation: Any, allowed: set[Any]) -> None:
    """Checks an operation's types that are not in ``allowed`` yet, and adds them."""
    for mlir_type in _types(operation):
        if mlir_type in allowed:
            continue
        is_token = stablehlo.TokenType.isinstance(mlir_type) or isinstance(mlir_type, ir.NoneType)
        why = None if is_token else why_not_array(mlir_type)
        if why:
            found = f"has a value of type {type_text(mlir_type)}: {why}"
            raise Invalid(f"{place(operation)}{operation.name} {found}")
        allowed.add(mlir_type)


def _types(operation: Any) -> Iterator[Any]:
    """Yields the types of an operation's results and of its blocks' arguments."""
    for value in operation.results:
        yield value.type
    for region in operation.regions:
        for block in region.blocks:
            for argument in block.arguments:
                yield argument.type


def _check_call_graph(found: dict[str, Any]) -> None:
    """Checks the functions that a module calls, as if their bodies were inlined.

    Raises:
        Invalid: A function calls itself, or is too large with its calls inlined.
    """
    bodies = {name: _body(function) for name, function in found.items()}
    sizes: dict[str, int] = {}
    for root in bodies:
        _measure(root, bodies, sizes)


def _measure(root: str, bodies: dict[str, tuple[int, list[str]]], sizes: dict[str, int]) -> None:
    """Adds the sizes of a function and of its callees to ``sizes``.

    It goes depth first with a list as its stack; ``path`` holds the functions being measured.
    """
    stack, path = [root], set[str]()
    while stack:
        name = stack[-1]
        own, callees = bodies[name]
        waiting = [callee for callee in callees if callee in bodies and callee not in sizes]
        if name in sizes or not waiting:
            sizes[name] = own + sum(sizes[callee] for callee in callees if callee in sizes)
            if sizes[name] > MAX_OPERATIONS:
                raise Invalid(f"@{name} is over {MAX_OPERATIONS} operations with its calls inlined")
            path.discard(name)
            stack.pop()
            continue
        path.add(name)
        if waiting[0] in path:
            raise Invalid(f"@{waiting[0]} calls itself; StableHLO has no recursion, use while")
        stack.append(waiting[0])


def _body(function: Any) -> tuple[int, list[str]]:
    """Returns the number of a function's operations, and the functions that they name."""
    count, callees = 0, list[str]()
    for operation, _ in operations(function):
        count += 1
        callees.extend(_symbols(operation))
    return count, callees


def _symbols(operation: Any) -> Iterable[str]:
    """Yields the names of the functions that an operation runs."""
    for name in ("callee", "decomposition", "called_computations"):
        if name in operation.attributes:
            attribute = operation.attributes[name]
            several: Iterable[Any] = (
                attribute if isinstance(attribute, ir.ArrayAttr) else [attribute]
            )
            yield from (symbol.value for symbol in several)
