"""Whether a value of a module is computed by the body of a known function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxlib.mlir import ir

from jaxfs.stablehlo.expansions.terms import (
    Reader,
    Region,
    SeenValue,
    Term,
    attribute_texts,
    returned_by,
    splat_text,
    type_of,
)

_BROADCAST = "stablehlo.broadcast_in_dim"


class Match:
    """One comparison of values with terms.

    Args:
        reader: The values' module.
        shape: The shape that stands for ``whole``; None if shapes have to be equal.
        whole: The shape for which the terms were made.
    """

    def __init__(
        self, reader: Reader, shape: tuple[int, ...] | None = None, whole: tuple[int, ...] = ()
    ) -> None:
        self._reader = reader
        self._shape = shape
        self._whole = whole
        self._equal: set[Any] = set()
        self._blocks: dict[Term, SeenValue] = {}
        self.arguments: dict[int, SeenValue] = {}

    def bind(self, values: Sequence[Any]) -> None:
        """Demands that the arguments are these values."""
        self.arguments.update({index: SeenValue(value) for index, value in enumerate(values)})

    def holds(self, term: Term, place: SeenValue) -> bool:
        """Returns whether a value is computed as a term is; nothing may follow a False."""
        place = self._reader.resolve(place)
        key = id(term), place
        if key in self._equal:
            return True
        if not self._compare(term, place):
            return False
        self._equal.add(key)
        return True

    def _compare(self, term: Term, place: SeenValue) -> bool:
        if term.name == "argument":
            known = self.arguments.setdefault(term.index, place)
            return known == place and self._same_type(term, place.value)
        if term.name == "block":
            return self._blocks.get(term) == place
        if term.name == "splat":
            return self._is_splat(term, place.value)
        if not self._same_type(term, place.value):
            return self._is_unbroadcast(term, place)
        owner = place.value.owner
        if isinstance(owner, ir.Block) or owner.operation.name != term.name:
            return self._is_unbroadcast(term, place)
        return self._same_operation(term, place, owner.operation)

    def _same_operation(self, term: Term, place: SeenValue, operation: Any) -> bool:
        if ir.OpResult(place.value).result_number != term.index:
            return False
        if len(operation.operands) != len(term.operands):
            return False
        if attribute_texts(operation) != term.attributes:
            return False
        pairs = zip(term.operands, operation.operands, strict=True)
        if not all(self.holds(one, SeenValue(value, place.call)) for one, value in pairs):
            return False
        return self._same_regions(term, place, operation)

    def _same_regions(self, term: Term, place: SeenValue, operation: Any) -> bool:
        blocks = self._reader.regions(operation)
        if len(blocks) != len(term.regions):
            return False
        return all(
            self._same_region(region, block, place)
            for region, block in zip(term.regions, blocks, strict=True)
        )

    def _same_region(self, region: Region, block: Any, place: SeenValue) -> bool:
        values = returned_by(block)
        arguments = list(block.arguments)
        if (len(values), len(arguments)) != (len(region.results), len(region.arguments)):
            return False
        for one, argument in zip(region.arguments, arguments, strict=True):
            self._blocks[one] = SeenValue(argument, place.call)
        pairs = zip(region.results, values, strict=True)
        return all(self.holds(one, SeenValue(value, place.call)) for one, value in pairs)

    def _is_splat(self, term: Term, value: Any) -> bool:
        element, _ = type_of(value)
        return element == term.element and splat_text(value) == term.attributes[0][1]

    def _is_unbroadcast(self, term: Term, place: SeenValue) -> bool:
        """Returns whether only a broadcast is missing, as for a scalar."""
        is_scalar = term.name == _BROADCAST and term.operands[0].shape == ()
        return self._shape == () and is_scalar and self.holds(term.operands[0], place)

    def _same_type(self, term: Term, value: Any) -> bool:
        element, shape = type_of(value)
        expected = term.shape
        if self._shape is not None and expected == self._whole:
            expected = self._shape
        return element == term.element and shape == expected
