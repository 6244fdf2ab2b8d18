"""Modules of one operation, as which operations run that are not imported, or not wholly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from jaxlib.mlir import ir
from jaxlib.mlir.dialects import func

from jaxfs.stablehlo.module.walk import operations

Build = Callable[[list[Any]], Any]  # from arguments to an operation
_FuncOp: Any = func.FuncOp  # the stubs know only its generated half


def module_of(mlir: Any) -> Any:
    """Returns a module whose ``main`` is a copy of an operation, in the operation's context.

    Constants from around it that its regions use are copied too, and the functions that it names.

    Raises:
        ValueError: Its regions use other values from around it.
    """
    with mlir.context, ir.Location.unknown():
        types = [operand.type for operand in mlir.operands]
        results = [result.type for result in mlir.results]
        module = new_module(types, results, lambda arguments: _copy(mlir, arguments))
        copy_called(enclosing_functions(mlir), module)
    return module


def new_module(inputs: Sequence[Any], outputs: Sequence[Any], build: Build) -> Any:
    """Returns a module whose ``main`` returns the results of what ``build`` makes.

    Args:
        inputs: The types of ``main``'s arguments.
        outputs: The types of its results.
        build: Makes the operation, in the current context and at the current location.
    """
    module = ir.Module.create()
    with ir.InsertionPoint(module.body):
        main = _FuncOp("main", ir.FunctionType.get(inputs, outputs), visibility="public")
    with ir.InsertionPoint(main.add_entry_block()):
        func.ReturnOp(list(build(list(main.entry_block.arguments)).results))
    return module


def _copy(mlir: Any, arguments: Sequence[Any]) -> Any:
    copy = mlir.clone()
    for number, argument in enumerate(arguments):
        copy.operands[number] = argument
    _copy_constants(copy)
    return copy


def enclosing_functions(mlir: Any) -> dict[str, Any]:
    """Returns the functions of the module around an operation, by name."""
    root = mlir
    while root.parent is not None:
        root = root.parent
    inside = [one.operation for one in root.regions[0].blocks[0].operations]
    return {one.attributes["sym_name"].value: one for one in inside if one.name == "func.func"}


def copy_called(known: Mapping[str, Any], module: Any) -> None:
    """Copies the functions that a module names but lacks, and those that these name, to its end."""
    present, waiting = {"main"}, _named(module.operation)
    while waiting:
        name = waiting.pop()
        if name in known and name not in present:
            present.add(name)
            copy = known[name].clone(ip=ir.InsertionPoint(module.body))
            copy.attributes["sym_visibility"] = ir.StringAttr.get("private")
            waiting |= _named(copy)


def _named(root: Any) -> set[str]:
    """Returns the names of functions in the attributes of all operations below one."""
    return {
        name
        for operation, _ in operations(root)
        if operation.name != "stablehlo.constant"  # the bindings cannot read complex elements
        for key in operation.attributes
        for name in _symbols(operation.attributes[key])
    }


def _symbols(attribute: Any) -> Iterator[str]:
    if isinstance(attribute, ir.FlatSymbolRefAttr):
        yield attribute.value
    elif isinstance(attribute, ir.ArrayAttr):  # called_computations
        for item in attribute:
            yield from _symbols(item)


def text_of(module: Any) -> str:
    """Returns a text from which any context makes the same module."""
    return str(module.operation.get_asm(print_generic_op_form=True))


def only_operation(module: Any) -> Any:
    """Returns the operation in a module that ``module_of`` made."""
    main = next(iter(module.body.operations)).operation
    return next(iter(main.regions[0].blocks[0].operations)).operation


def _copy_constants(operation: Any) -> None:
    """Copies the constants that an operation's regions use into the regions."""
    for user, number in list(_outside(operation)):
        owner = user.operands[number].owner
        if isinstance(owner, ir.Block) or owner.name != "stablehlo.constant":
            raise ValueError(f"{operation.name} uses values from around it")
        start = user.operation.block.operations[0]
        copy = owner.operation.clone(ip=ir.InsertionPoint(start))
        user.operands[number] = copy.results[0]


def _outside(operation: Any) -> Iterator[tuple[Any, int]]:
    """Yields the operands in an operation's regions that are made outside of it."""
    inside = {inner for inner, _ in operations(operation)}
    for inner in inside:
        for number, operand in enumerate(inner.operands):
            owner = operand.owner
            if isinstance(owner, ir.Block):
                owner = owner.owner if owner.owner != operation else None
            if owner is not None and owner.operation not in inside:
                yield inner, number
