"""A module as a function of jax arrays: its operations, one after another."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxfs.errors import Invalid, JaxfsError, NotSupported
from jaxfs.stablehlo.importer import opaque
from jaxfs.stablehlo.importer.op import CannotImport, Operation, Rule, Values
from jaxfs.stablehlo.importer.rewrites.constant_folding import fold
from jaxfs.stablehlo.importer.rule_table import RULES
from jaxfs.stablehlo.module.entry_function import read_signature
from jaxfs.stablehlo.module.mlir_types import type_text
from jaxfs.stablehlo.module.walk import functions, operations
from jaxfs.types.signature import Param

MAX_DEPTH = 200  # of calls and regions within each other
MAX_OPERATIONS = 1_000_000  # with calls inlined; JAX traces some 20,000 a second

_WIDE = re.compile(r"[x<](?:u?i64|f64)>")
_RETURNS = frozenset({"func.return", "stablehlo.return", "chlo.return"})
# JAX's operations take fewer types than StableHLO's, and say so in one of these.
_REFUSALS = (TypeError, ValueError, NotImplementedError)


class ImportedFunction:
    """``main`` of a module, callable with flat arrays; gives a tuple of arrays.

    It can be traced, and so transformed, like any function of JAX.  Where the module has types of
    64 bits, it computes with them, whatever JAX is set to; what is transformed around it should be
    too (``jax.enable_x64(True)``), or JAX may make its inputs 32-bit ones before.
    """

    def __init__(self, module: Any, names: Sequence[str] = ()) -> None:
        """``names`` are for arguments whose names the module does not tell."""
        self.module = module
        self._functions = functions(module)
        main = self._functions.get("main")
        if main is None:
            raise Invalid("the module has no function main")
        self.signature = read_signature(main, names)
        self._main = main.regions[0].blocks[0]

    def __call__(self, *arrays: Any) -> tuple[Any, ...]:
        """Raises Invalid for other arrays than the signature's, NotSupported naming the operation
        and its line where one cannot be imported."""
        inputs = self.signature.inputs
        if len(arrays) != len(inputs):
            raise Invalid(f"expected {len(inputs)} arrays, got {len(arrays)}")
        with self.module.context, self._widths():
            values = [_input(i, p, a) for i, (p, a) in enumerate(zip(inputs, arrays, strict=True))]
            try:
                outputs = _Run(self._functions).block(self._main, values, None)
            except RecursionError:
                raise NotSupported("the module nests too deep to be imported") from None
            return tuple(jnp.asarray(value) for value in outputs)

    def _widths(self) -> AbstractContextManager[Any]:
        config: Any = jax.config  # its options have no types
        if config.jax_enable_x64 or not self._is_wide:
            return nullcontext()
        wide: AbstractContextManager[Any] = jax.enable_x64(True)
        return wide

    @cached_property
    def _is_wide(self) -> bool:
        """Whether any value has 64 bits an element, or a part of one."""
        blocks = (function.regions[0].blocks[0] for function in self._functions.values())
        types = {argument.type for block in blocks for argument in block.arguments}
        for operation, _ in operations(self.module.operation):
            types.update(result.type for result in operation.results)
        return any(_WIDE.search(type_text(one)) for one in types)


def _input(index: int, param: Param, value: Any) -> Any:
    """The array an input stands for.  A number without a type of its own takes the input's."""
    array = jnp.asarray(value)
    dtype = param.aval.row.numpy
    is_near = array.dtype == dtype or jnp.can_cast(array.dtype, dtype)
    if array.shape != param.aval.shape or not (is_near or jnp.asarray(value).weak_type):
        name = f"input {index}" + (f" ({param.name})" if param.name else "")
        found = f"{array.dtype}[{','.join(map(str, array.shape))}]"
        raise Invalid(f"{name}: expected {param.aval}, found {found}")
    return jax.lax.convert_element_type(array, dtype)


class _Scope:
    """What values stand for, where regions see those around them."""

    __slots__ = ("_outer", "depth", "memo", "values")

    def __init__(self, outer: _Scope | None, depth: int = 0) -> None:
        self._outer = outer
        self.values: dict[Any, Any] = {}
        self.memo: dict[Any, Any] = {}  # what has been made here and may be used again
        self.depth: int = outer.depth + 1 if outer else depth

    def __getitem__(self, value: Any) -> Any:
        scope: _Scope | None = self
        while scope is not None:
            if value in scope.values:
                return scope.values[value]
            scope = scope._outer
        raise KeyError(value)


class _Run:
    """One walk over a module."""

    def __init__(self, known: Mapping[str, Any]) -> None:
        self._functions = known
        self._count = 0

    def block(self, block: Any, values: Values, outer: _Scope | None, depth: int = 0) -> list[Any]:
        """What a block returns for values of its arguments."""
        scope = _Scope(outer, depth)
        if scope.depth > MAX_DEPTH:
            raise NotSupported(f"regions and calls over {MAX_DEPTH} deep cannot be imported")
        own = scope.values
        own.update(zip(block.arguments, values, strict=True))
        for view in block.operations:
            operation = view.operation
            operands = [own[one] if one in own else scope[one] for one in operation.operands]
            name = operation.name
            if name in _RETURNS:
                return operands
            results = self._results(name, operation, operands, scope)
            own.update(zip(operation.results, results, strict=True))
        return []

    def _results(self, name: str, mlir: Any, operands: list[Any], scope: _Scope) -> Sequence[Any]:
        self._count += 1
        if self._count > MAX_OPERATIONS:
            raise NotSupported(f"a program over {MAX_OPERATIONS} operations cannot be imported")
        operation = Operation(
            name,
            mlir,
            lambda block, values: self.block(block, values, scope),
            lambda name, values: self._call(name, values, scope),
            scope.memo,
            scope.__getitem__,
        )
        try:
            found = _known(operation, operands)
            if found is None:
                found = _imported(operation, operands)
        except CannotImport:
            raise
        except JaxfsError as error:
            raise operation.unsupported(error.reason) from None
        return found if isinstance(found, tuple | list) and len(mlir.results) != 1 else [found]

    def _call(self, name: str, values: Values, scope: _Scope) -> list[Any]:
        """The inside of a function sees nothing of who calls it, but counts as deeper."""
        function = self._functions.get(name)
        if function is None:
            raise NotSupported(f"there is no function {name}")
        return self.block(function.regions[0].blocks[0], values, None, scope.depth + 1)


def _known(operation: Operation, operands: list[Any]) -> Any:
    """The result where it can be told before the program runs, else None."""
    for operand in operands:
        if type(operand) is not np.ndarray or operand.dtype.kind not in "biu":
            return None
    return fold(operation, operands) if operands else None


def _imported(operation: Operation, operands: list[Any]) -> Any:
    function: Rule = RULES.get(operation.name, opaque.import_opaque)
    try:
        return function(operation, *operands)
    except _REFUSALS as error:
        first_line = str(error).strip().partition("\n")[0]
        refusal = operation.unsupported(f"JAX says {first_line}")
        if function is opaque.import_opaque:
            raise refusal from error
        try:
            return opaque.import_opaque(operation, *operands)
        except NotSupported:
            raise refusal from error
