"""What a module must be before jaxfs compiles it.

MLIR's verifier has passed already; these are the rules it does not know: nothing that reaches
outside (host transfers, unknown native code), nothing known to end the compiler.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from jaxlib.mlir import ir

from jaxfs.errors import Invalid
from jaxfs.stablehlo.custom_calls import refusal
from jaxfs.stablehlo.nesting import MAX_REGIONS
from jaxfs.stablehlo.types import aval_of, why_not_array
from jaxfs.stablehlo.walk import functions, operations, place

MAX_OPERATIONS = 10_000_000  # with every call inlined, as XLA does

_DIALECTS = ("stablehlo.", "chlo.")
_OTHER_OPERATIONS = frozenset({"func.func", "func.call", "func.return"})
_HOST_TRANSFERS = frozenset(f"stablehlo.{name}" for name in ("infeed", "outfeed", "send", "recv"))
_HARMLESS_TYPES = ("!stablehlo.token", "none")


def check_module(module: Any) -> None:
    """Raise Invalid for what jaxfs does not run, with the line where it is known."""
    check_main(module)
    allowed_types: set[str] = set()
    for operation, depth in operations(module.operation):
        if depth > MAX_REGIONS:
            raise Invalid(f"{place(operation)}nested over {MAX_REGIONS} deep; flatten the program")
        _check_operation(operation)
        _check_types(operation, allowed_types)
    _check_call_graph(functions(module))


def check_main(module: Any) -> Any:
    """The entry function.  Raises Invalid where there is none to run."""
    found = functions(module)
    main = found.get("main")
    if main is None:
        names = ", ".join(f"@{name}" for name in found) or "no function at all"
        raise Invalid(f"there is no function @main to run, found {names}; name the entry main")
    visibility = main.attributes
    if "sym_visibility" in visibility and visibility["sym_visibility"].value != "public":
        raise Invalid(f"{place(main)}@main is private; make it public")
    for name, function in found.items():
        if not function.regions[0].blocks:
            raise Invalid(f"{place(function)}@{name} has no body")
    return main


def _check_operation(operation: Any) -> None:
    name = operation.name
    if name in _HOST_TRANSFERS:
        raise Invalid(f"{place(operation)}{name} talks to the host; a program here cannot")
    if not name.startswith(_DIALECTS) and name not in _OTHER_OPERATIONS:
        raise Invalid(f"{place(operation)}{name} is no StableHLO operation")
    if name == "stablehlo.custom_call":
        _check_custom_call(operation)


def _check_custom_call(operation: Any) -> None:
    target = operation.attributes["call_target_name"].value
    operands = [aval_of(value.type) for value in operation.operands]
    results = [aval_of(value.type) for value in operation.results]
    why = refusal(target, operands, results, _backend_config(operation))
    if why:
        raise Invalid(f"{place(operation)}custom call @{target} {why}")


def _backend_config(operation: Any) -> dict[str, int]:
    if "mhlo.backend_config" not in operation.attributes:
        return {}
    config = operation.attributes["mhlo.backend_config"]
    if not isinstance(config, ir.DictAttr):
        return {}
    entries = [config[i] for i in range(len(config))]
    return {
        entry.name: int(entry.attr.value)
        for entry in entries
        if isinstance(entry.attr, ir.IntegerAttr | ir.BoolAttr)
    }


def _check_types(operation: Any, allowed: set[str]) -> None:
    for mlir_type in _types(operation):
        text = str(mlir_type)
        if text in allowed or text in _HARMLESS_TYPES:
            continue
        why = why_not_array(mlir_type)
        if why:
            raise Invalid(f"{place(operation)}{operation.name} has a value of type {text}: {why}")
        allowed.add(text)


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
