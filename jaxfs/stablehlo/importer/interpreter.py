"""The interpreter: a module as a function of jax arrays, operation by operation."""

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
from jaxfs.stablehlo.expansions.recognize import Known, recognize
from jaxfs.stablehlo.importer import opaque
from jaxfs.stablehlo.importer.op import CannotImport, Operation, Rule, Values
from jaxfs.stablehlo.importer.rewrites.constant_folding import fold
from jaxfs.stablehlo.importer.rule_table import RULES
from jaxfs.stablehlo.module.entry_function import read_signature
from jaxfs.stablehlo.module.legalize import legalize
from jaxfs.stablehlo.module.mlir_types import type_text
from jaxfs.stablehlo.module.walk import functions, operations
from jaxfs.types.signature import Param

MAX_DEPTH = 200  # of nested calls and regions
MAX_OPERATIONS = 1_000_000  # with calls inlined; JAX traces some 20,000 a second

_WIDE = re.compile(r"[x<](?:u?i64|f64)>")
_RETURNS = frozenset({"func.return", "stablehlo.return", "chlo.return"})
# JAX's operations take fewer types than StableHLO's, and raise one of these for others.
_REFUSALS = (TypeError, ValueError, NotImplementedError)


class ImportedFunction:
    """``main`` of a module: a function of flat arrays that returns a tuple of arrays.

    It can be traced, and so transformed, like any function of JAX.  A module with 64-bit types
    computes with them, whatever JAX is set to.  A transformation around it should use
    ``jax.enable_x64(True)`` too, or JAX may convert its inputs to 32 bits before.

    Attributes:
        module: The MLIR module.
        signature: The names and types of its inputs and outputs.
    """

    def __init__(self, module: Any, names: Sequence[str] = ()) -> None:
        """Takes a parsed module, and ``names`` for arguments whose names it does not contain.

        The module is brought into the form that runs without the importer too.
        """
        self.module = module
        self._functions = functions(module)
        main = self._functions.get("main")
        if main is None:
            raise Invalid("the module has no function main")
        with module.context:
            legalize(module)
        self.signature = read_signature(main, names)
        self._main = main.regions[0].blocks[0]

    def __call__(self, *arrays: Any) -> tuple[Any, ...]:
        """Computes the outputs for flat inputs.

        Raises:
            Invalid: The arrays have other types than the signature's inputs.
            NotSupported: An operation cannot be imported; the message has its name and line.
        """
        inputs = self.signature.inputs
        if len(arrays) != len(inputs):
            raise Invalid(f"expected {len(inputs)} arrays, got {len(arrays)}")
        with self.module.context, self._precision():
            values = [_input(i, p, a) for i, (p, a) in enumerate(zip(inputs, arrays, strict=True))]
            try:
                interpreter = _Interpreter(self._functions, self._known)
                outputs = interpreter.block(self._main, values, None)
            except RecursionError:
                raise NotSupported("the module nests too deep to be imported") from None
            return tuple(jnp.asarray(value) for value in outputs)

    def _precision(self) -> AbstractContextManager[Any]:
        """Returns a context in which JAX has 64-bit types, if the module needs them."""
        config: Any = jax.config  # its options have no types
        if config.jax_enable_x64 or not self._is_wide:
            return nullcontext()
        wide: AbstractContextManager[Any] = jax.enable_x64(True)
        return wide

    @cached_property
    def _known(self) -> dict[Any, Known]:
        """Returns the operations that compute functions of JAX."""
        return recognize(self.module)

    @cached_property
    def _is_wide(self) -> bool:
        """Returns whether any value has 64-bit elements, or complex ones with 64-bit parts."""
        blocks = (function.regions[0].blocks[0] for function in self._functions.values())
        types = {argument.type for block in blocks for argument in block.arguments}
        for operation, _ in operations(self.module.operation):
            types.update(result.type for result in operation.results)
        return any(_WIDE.search(type_text(one)) for one in types)


def _input(index: int, param: Param, value: Any) -> Any:
    """Returns an input with the parameter's dtype; a Python number has no dtype of its own.

    Raises:
        Invalid: The shape differs, or the dtype cannot be cast safely.
    """
    array = jnp.asarray(value)
    dtype = param.aval.row.numpy
    is_castable = array.dtype == dtype or jnp.can_cast(array.dtype, dtype)
    if array.shape != param.aval.shape or not (is_castable or jnp.asarray(value).weak_type):
        name = f"input {index}" + (f" ({param.name})" if param.name else "")
        found = f"{array.dtype}[{','.join(map(str, array.shape))}]"
        raise Invalid(f"{name}: expected {param.aval}, found {found}")
    return jax.lax.convert_element_type(array, dtype)


class _Scope:
    """The values of a block's MLIR values; a region also has those of the blocks around it.

    Attributes:
        depth: The number of calls and regions around it.
        memo: What rules have made in this block and may use again.
        values: The values of this block's arguments and operations.
    """

    __slots__ = ("_outer", "depth", "memo", "values")

    def __init__(self, outer: _Scope | None, depth: int = 0) -> None:
        self._outer = outer
        self.values: dict[Any, Any] = {}
        self.memo: dict[Any, Any] = {}
        self.depth: int = outer.depth + 1 if outer else depth

    def __getitem__(self, value: Any) -> Any:
        scope: _Scope | None = self
        while scope is not None:
            if value in scope.values:
                return scope.values[value]
            scope = scope._outer
        raise KeyError(value)


class _Interpreter:
    """One evaluation of a module.  It counts operations, with calls inlined, to limit them."""

    def __init__(self, functions_by_name: Mapping[str, Any], known: Mapping[Any, Known]) -> None:
        self._functions = functions_by_name
        self._known = known
        self._count = 0

    def block(self, block: Any, values: Values, outer: _Scope | None, depth: int = 0) -> list[Any]:
        """Returns the values that a block returns for values of its arguments."""
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
        """Returns the results of one operation, folded or imported."""
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
            known = self._known.get(mlir)
            found = _folded(operation, operands) if known is None else _applied(known, scope)
            if found is None:
                found = _imported(operation, operands)
        except CannotImport:
            raise
        except JaxfsError as error:
            raise operation.unsupported(error.reason) from None
        return found if isinstance(found, tuple | list) and len(mlir.results) != 1 else [found]

    def _call(self, name: str, values: Values, scope: _Scope) -> list[Any]:
        """Calls a function: its block has no values of the caller, and is one deeper.

        Raises:
            NotSupported: The module has no function of this name.
        """
        function = self._functions.get(name)
        if function is None:
            raise NotSupported(f"there is no function {name}")
        return self.block(function.regions[0].blocks[0], values, None, scope.depth + 1)


def _applied(known: Known, scope: _Scope) -> Any:
    """Returns what a function of JAX returns, with its own derivative.

    The operations of its body stay without users, and XLA drops them.
    """
    return known.apply(*(jnp.asarray(scope[value]) for value in known.arguments))


def _folded(operation: Operation, operands: list[Any]) -> Any:
    """Returns the result if it is known before the program runs, else None.

    Only booleans and integers are folded, which numpy computes exactly as XLA does.
    """
    for operand in operands:
        if type(operand) is not np.ndarray or operand.dtype.kind not in "biu":
            return None
    return fold(operation, operands) if operands else None


def _imported(operation: Operation, operands: list[Any]) -> Any:
    """Returns what the operation's rule makes; if JAX refuses the types, the operation as it is."""
    rule: Rule = RULES.get(operation.name, opaque.import_opaque)
    try:
        return rule(operation, *operands)
    except _REFUSALS as error:
        first_line = str(error).strip().partition("\n")[0]
        refusal = operation.unsupported(f"JAX refuses it: {first_line}")
        if rule is opaque.import_opaque:
            raise refusal from error
        try:
            return opaque.import_opaque(operation, *operands)
        except NotSupported:
            raise refusal from error
