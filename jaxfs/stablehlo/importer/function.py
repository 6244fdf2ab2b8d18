"""A module as a function of jax arrays: its operations, one after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax

from jaxfs.errors import Invalid, JaxfsError, NotSupported
from jaxfs.stablehlo.importer import opaque
from jaxfs.stablehlo.importer.operation import TABLE, Import, Operation, Type, Values
from jaxfs.stablehlo.walk import functions

_RETURNS = frozenset({"func.return", "stablehlo.return", "chlo.return"})
MAX_DEPTH = 200  # of calls and regions within each other


class ImportedFunction:
    """``main`` of a module, callable with flat arrays; gives a tuple of arrays.

    It can be traced, and so transformed, like any function of JAX.  A module with 64-bit types has
    to be traced under ``jax.enable_x64(True)``, or they become 32-bit ones.
    """

    def __init__(self, module: Any) -> None:
        self.module = module
        self._functions = functions(module)
        main = self._functions.get("main")
        if main is None:
            raise Invalid("the module has no function main")
        self._main = main.regions[0].blocks[0]
        self.inputs = tuple(Type.of(argument.type) for argument in self._main.arguments)

    def __call__(self, *arrays: Any) -> tuple[Any, ...]:
        if len(arrays) != len(self.inputs):
            raise Invalid(f"expected {len(self.inputs)} arrays, got {len(arrays)}")
        with self.module.context:
            outputs = _Run(self._functions).block(self._main, list(arrays), None)
        return tuple(jax.numpy.asarray(value) for value in outputs)


class _Scope:
    """What values stand for, where regions see those around them."""

    __slots__ = ("_outer", "_values", "depth")

    def __init__(self, outer: _Scope | None) -> None:
        self._outer = outer
        self._values: dict[Any, Any] = {}
        self.depth: int = outer.depth + 1 if outer else 0

    def __getitem__(self, value: Any) -> Any:
        scope: _Scope | None = self
        while scope is not None:
            if value in scope._values:
                return scope._values[value]
            scope = scope._outer
        raise KeyError(value)

    def __setitem__(self, value: Any, meaning: Any) -> None:
        self._values[value] = meaning


class _Run:
    """One walk over a module."""

    def __init__(self, known: Mapping[str, Any]) -> None:
        self._functions = known

    def block(self, block: Any, values: Values, outer: _Scope | None) -> list[Any]:
        """What a block returns for values of its arguments."""
        scope = _Scope(outer)
        if scope.depth > MAX_DEPTH:
            raise NotSupported(f"regions and calls over {MAX_DEPTH} deep cannot be imported")
        for argument, value in zip(block.arguments, values, strict=True):
            scope[argument] = value
        for view in block.operations:
            operation = view.operation
            operands = [scope[operand] for operand in operation.operands]
            if operation.name in _RETURNS:
                return operands
            results = self._results(operation, operands, scope)
            for result, value in zip(operation.results, results, strict=True):
                scope[result] = value
        return []

    def _results(self, mlir: Any, operands: list[Any], scope: _Scope) -> Sequence[Any]:
        operation = Operation(
            mlir,
            lambda block, values: self.block(block, values, scope),
            lambda name, values: self._call(name, values, scope),
        )
        function: Import = TABLE.get(operation.name, opaque.import_opaque)
        try:
            found = function(operation, *operands)
        except JaxfsError as error:
            if operation.name in error.reason:
                raise
            raise operation.refuse(error.reason) from None
        return found if isinstance(found, tuple | list) and len(mlir.results) != 1 else [found]

    def _call(self, name: str, values: Values, scope: _Scope) -> list[Any]:
        function = self._functions.get(name)
        if function is None:
            raise NotSupported(f"there is no function {name}")
        return self.block(function.regions[0].blocks[0], values, _Called(scope))


class _Called(_Scope):
    """The inside of a function sees nothing of who calls it, but counts as deeper."""

    __slots__ = ()

    def __init__(self, caller: _Scope) -> None:
        super().__init__(None)
        self.depth = caller.depth + 1
