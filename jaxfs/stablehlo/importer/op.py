"""One operation of a module, as the rules that import it get it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
from jaxlib.mlir import ir

from jaxfs.errors import NotSupported
from jaxfs.stablehlo.module.walk import place
from jaxfs.types.avals import BY_MLIR

Values = Sequence[Any]
Rule = Callable[..., Any]  # (operation, *operands) -> a value, or a sequence of them


class CannotImport(NotSupported):
    """An operation cannot be imported or differentiated; the message names the operation."""


def elementwise_rule(function: Callable[..., Any]) -> Rule:
    """Returns the rule that applies a function to the operands' values and needs nothing else."""
    return lambda operation, *operands: function(*operands)


def _integers(attribute: Any) -> tuple[int, ...]:
    """Returns the integers of an array attribute, or of a dense one."""
    if isinstance(attribute, ir.DenseIntElementsAttr):
        return _elements(attribute)
    return tuple(int(value) for value in attribute)


def _elements(attribute: Any) -> tuple[int, ...]:
    """Returns the integers of a dense attribute."""
    found: Any = ir.DenseIntElementsAttr(attribute)  # its iterator has no types
    return tuple(int(value) for value in found)


@attrs.frozen
class Type:
    """A ranked, static tensor type.

    Attributes:
        shape: The sizes of its dimensions.
        dtype: The element type, as numpy's.
    """

    shape: tuple[int, ...]
    dtype: Any

    @classmethod
    def of(cls, mlir_type: Any) -> Type:
        """Returns the type of an MLIR type, or raises NotSupported if it is no array's."""
        if not isinstance(mlir_type, ir.RankedTensorType) or not mlir_type.has_static_shape:
            raise NotSupported(f"the type {mlir_type} cannot be imported")
        row = BY_MLIR.get(str(mlir_type.element_type))
        if row is None:
            raise NotSupported(f"the element type {mlir_type.element_type} cannot be imported")
        return cls(tuple(mlir_type.shape), row.numpy)


@attrs.define  # as frozen, making one takes 2 us longer, of some 25
class Operation:
    """An operation, with access to its attributes, types and regions.

    Attributes:
        name: Its full name: ``stablehlo.add``.
        mlir: The operation in MLIR's bindings.
        run: Imports a block of one of its regions, with values for the block's arguments.
        call_function: Imports a function of the module, by its name.
        memo: What rules have made in this block and may use again.
        lookup: Returns the value of an MLIR value that is made before the operation.
    """

    name: str
    mlir: Any
    run: Callable[[Any, Values], list[Any]]
    call_function: Callable[[str, Values], list[Any]]
    memo: dict[Any, Any]
    lookup: Callable[[Any], Any]

    @property
    def location_name(self) -> str:
        """Returns its name, a call's target and its line if known: ``stablehlo.sort at line 3``."""
        at = place(self.mlir).rstrip(": ")
        target = f" @{self.string('call_target_name')}" if self.has("call_target_name") else ""
        return f"{self.name}{target} at {at}" if at else f"{self.name}{target}"

    def unsupported(self, why: str) -> CannotImport:
        """Returns the error to raise if the operation, or this form of it, cannot be imported."""
        return CannotImport(f"{self.location_name} cannot be imported: {why}")

    def has(self, key: str) -> bool:
        """Returns whether the operation has an attribute."""
        return key in self.mlir.attributes

    def attribute(self, key: str) -> Any:
        """Returns an attribute; raises KeyError if there is none."""
        return self.mlir.attributes[key]

    def integer(self, key: str, default: int = 0) -> int:
        """Returns an integer attribute."""
        return int(ir.IntegerAttr(self.attribute(key)).value) if self.has(key) else default

    def integers(self, key: str, default: Sequence[int] = ()) -> tuple[int, ...]:
        """Returns an ``array<i64: ...>``, or a ``dense<...>`` of older modules."""
        attributes = self.mlir.attributes
        return self.once(attributes[key], _integers) if key in attributes else tuple(default)

    def booleans(self, key: str, count: int) -> tuple[bool, ...]:
        """Returns ``count`` booleans, all False by default."""
        if not self.has(key):
            return (False,) * count
        found = self.attribute(key)
        if isinstance(found, ir.DenseElementsAttr):
            return tuple(map(bool, _elements(found)))
        return tuple(bool(value) for value in ir.DenseBoolArrayAttr(found))

    def flag(self, key: str) -> bool:
        """Returns a boolean attribute, False by default."""
        return self.has(key) and bool(ir.BoolAttr(self.attribute(key)).value)

    def enum(self, key: str, default: str = "") -> str:
        """Returns an enumeration's value: ``LT`` of ``#stablehlo<comparison_direction LT>``.

        The text is read, since each enumeration has a class of its own in the bindings.
        """
        if not self.has(key):
            return default
        text = str(self.attribute(key))
        return text.rstrip(">").replace("<", " ").split()[-1].strip('"')

    def string(self, key: str, default: str = "") -> str:
        """Returns a string attribute."""
        return str(ir.StringAttr(self.attribute(key)).value) if self.has(key) else default

    def pairs(self, key: str, count: int) -> tuple[tuple[int, int], ...]:
        """Returns padding: a ``dense<...>`` of shape [count, 2], zeros by default."""
        if not self.has(key):
            return ((0, 0),) * count
        flat = _elements(self.attribute(key))
        return tuple(zip(flat[::2], flat[1::2], strict=True))

    def result(self, index: int = 0) -> Type:
        """Returns the type of a result."""
        found: Type = self.once(self.mlir.results[index].type, Type.of)
        return found

    def result_shape(self) -> tuple[int, ...]:
        """Returns the shape of the first result, which is static."""
        return tuple(self.mlir.results[0].type.shape)

    def operand(self, index: int = 0) -> Type:
        """Returns the type of an operand."""
        found: Type = self.once(self.mlir.operands[index].type, Type.of)
        return found

    def once(self, key: Any, make: Callable[[Any], Any]) -> Any:
        """Returns ``make(key)``, made once for each type or attribute: in MLIR they are unique.

        A module of thousands of operations has a few types, and reading one is slow.
        """
        known = make, key
        if known not in self.memo:
            self.memo[known] = make(key)
        return self.memo[known]

    def block(self, index: int = 0) -> Any:
        """Returns the block of a region."""
        return self.mlir.regions[index].blocks[0]

    def region(self, index: int = 0) -> Callable[..., list[Any]]:
        """Returns a region as a function of its block's arguments."""
        block = self.block(index)
        return lambda *values: self.run(block, values)
