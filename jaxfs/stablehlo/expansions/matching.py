"""Whether a value of a module is computed by the body of a known function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxlib.mlir import ir

from jaxfs.stablehlo.expansions.nodes import (
    Node,
    Place,
    Reader,
    Region,
    attribute_texts,
    returned_by,
    splat_text,
    type_of,
)

_BROADCAST = "stablehlo.broadcast_in_dim"


class Match:
    """One comparison of values with nodes.

    Args:
        reader: The values' module.
        shape: The shape that stands for ``whole``; None if shapes have to be equal.
        whole: The shape for which the nodes were made.
    """

    def __init__(
        self, reader: Reader, shape: tuple[int, ...] | None = None, whole: tuple[int, ...] = ()
    ) -> None:
        self._reader = reader
        self._shape = shape
        self._whole = whole
        self._equal: set[Any] = set()
        self._blocks: dict[Node, Place] = {}
        self.arguments: dict[int, Place] = {}

    def bind(self, values: Sequence[Any]) -> None:
        """Demands that the arguments are these values."""
        self.arguments.update({index: Place(value) for index, value in enumerate(values)})

    def holds(self, node: Node, place: Place) -> bool:
        """Returns whether a value is computed as a node is; nothing may follow a False."""
        place = self._reader.resolve(place)
        key = id(node), place
        if key in self._equal:
            return True
        if not self._compare(node, place):
            return False
        self._equal.add(key)
        return True

    def _compare(self, node: Node, place: Place) -> bool:
        if node.name == "argument":
            known = self.arguments.setdefault(node.index, place)
            return known == place and self._same_type(node, place.value)
        if node.name == "block":
            return self._blocks.get(node) == place
        if node.name == "splat":
            return self._is_splat(node, place.value)
        if not self._same_type(node, place.value):
            return self._is_unbroadcast(node, place)
        owner = place.value.owner
        if isinstance(owner, ir.Block) or owner.operation.name != node.name:
            return self._is_unbroadcast(node, place)
        return self._same_operation(node, place, owner.operation)

    def _same_operation(self, node: Node, place: Place, operation: Any) -> bool:
        if ir.OpResult(place.value).result_number != node.index:
            return False
        if len(operation.operands) != len(node.operands):
            return False
        if attribute_texts(operation) != node.attributes:
            return False
        pairs = zip(node.operands, operation.operands, strict=True)
        if not all(self.holds(one, Place(value, place.call)) for one, value in pairs):
            return False
        return self._same_regions(node, place, operation)

    def _same_regions(self, node: Node, place: Place, operation: Any) -> bool:
        blocks = self._reader.regions(operation)
        if len(blocks) != len(node.regions):
            return False
        return all(
            self._same_region(region, block, place)
            for region, block in zip(node.regions, blocks, strict=True)
        )

    def _same_region(self, region: Region, block: Any, place: Place) -> bool:
        values = returned_by(block)
        arguments = list(block.arguments)
        if (len(values), len(arguments)) != (len(region.results), len(region.arguments)):
            return False
        for one, argument in zip(region.arguments, arguments, strict=True):
            self._blocks[one] = Place(argument, place.call)
        pairs = zip(region.results, values, strict=True)
        return all(self.holds(one, Place(value, place.call)) for one, value in pairs)

    def _is_splat(self, node: Node, value: Any) -> bool:
        element, _ = type_of(value)
        return element == node.element and splat_text(value) == node.attributes[0][1]

    def _is_unbroadcast(self, node: Node, place: Place) -> bool:
        """Returns whether only a broadcast is missing, as for a scalar."""
        is_scalar = node.name == _BROADCAST and node.operands[0].shape == ()
        return self._shape == () and is_scalar and self.holds(node.operands[0], place)

    def _same_type(self, node: Node, value: Any) -> bool:
        element, shape = type_of(value)
        expected = node.shape
        if self._shape is not None and expected == self._whole:
            expected = self._shape
        return element == node.element and shape == expected
