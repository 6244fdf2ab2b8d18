"""A module of one operation: how what is not imported, or not wholly, runs as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from jaxlib.mlir import ir
from jaxlib.mlir.dialects import func

from jaxfs.stablehlo.module.walk import operations

Build = Callable[[list[Any]], Any]  # arguments -> an operation
_FuncOp: Any = func.FuncOp  # the stubs know only its generated half


def module_of(mlir: Any) -> Any:
    """A module whose ``main`` is a copy of the operation, in the operation's context.

    Constants that its regions see around them come along.  Raises ValueError for other values they
    see.
    """
    with mlir.context, ir.Location.unknown():
        types = [operand.type for operand in mlir.operands]
        results = [result.type for result in mlir.results]
        return new_module(types, results, lambda arguments: _copy(mlir, arguments))


def new_module(inputs: Sequence[Any], outputs: Sequence[Any], build: Build) -> Any:
    """A module whose ``main`` takes and gives these types, and returns what ``build`` makes of its
    arguments; in the context and at the location at hand."""
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
    _bring_constants(copy)
    return copy


def text_of(module: Any) -> str:
    """What makes the same module again, in any context."""
    return str(module.operation.get_asm(print_generic_op_form=True))


def sole(module: Any) -> Any:
    """The operation in a module that ``module_of`` made."""
    main = next(iter(module.body.operations)).operation
    return next(iter(main.regions[0].blocks[0].operations)).operation


def _bring_constants(operation: Any) -> None:
    for user, number in list(_outside(operation)):
        owner = user.operands[number].owner
        if isinstance(owner, ir.Block) or owner.name != "stablehlo.constant":
            raise ValueError(f"{operation.name} uses values from around it")
        start = user.operation.block.operations[0]
        copy = owner.operation.clone(ip=ir.InsertionPoint(start))
        user.operands[number] = copy.results[0]


def _outside(operation: Any) -> Iterator[tuple[Any, int]]:
    """Operands within the operation's regions that are made outside of it."""
    inside = {inner for inner, _ in operations(operation)}
    for inner in inside:
        for number, operand in enumerate(inner.operands):
            owner = operand.owner
            if isinstance(owner, ir.Block):
                owner = owner.owner if owner.owner != operation else None
            if owner is not None and owner.operation not in inside:
                yield inner, number
