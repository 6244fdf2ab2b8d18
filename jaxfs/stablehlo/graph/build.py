"""A module's main function as boxes and edges.

Functions are opened where they are called, and named; loops and branches are clusters too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from jaxfs.stablehlo.graph import labels
from jaxfs.stablehlo.graph.model import Box, Graph
from jaxfs.stablehlo.module.entry_function import entry_block
from jaxfs.stablehlo.module.walk import functions, operations
from jaxfs.types.signature import Signature

SLACK = 20  # boxes before what can be drawn together is, for each that may be there after
MOST_NAMED = 4  # inputs, or outputs, in the title
CALLS = ("func.call", "stablehlo.composite")
RETURNS = ("func.return", "stablehlo.return", "sdy.return")
ON_DEVICES = "sdy.manual_computation"
REGIONS = {  # of operations that decide what runs
    "stablehlo.while": ("while", ("condition", "body")),
    "stablehlo.if": ("if", ("true", "false")),
    "stablehlo.case": ("case", ()),
}
Meaning = Box | str  # where a value comes from: a box, or a number that is written where it is used


class TooMany(Exception):
    """There is more than can be drawn in this detail."""


@attrs.frozen
class Detail:
    """What is opened: functions that are called, and loops and branches."""

    calls: bool = True
    regions: bool = True


def build(module: Any, signature: Signature, detail: Detail, most: int) -> Graph:
    """Raises TooMany where opening makes far more than ``most`` boxes."""
    found = functions(module)
    main = found["main"]
    walk = _Walk(Graph(_title(signature)), found, detail, most * SLACK)
    walk.main(main, signature)
    return walk.graph


def _title(signature: Signature) -> str:
    """What goes in and what comes out: artifacts have no names."""
    inputs = _listed([param.name or str(param.aval) for param in signature.inputs], "input")
    outputs = _listed([param.name or str(param.aval) for param in signature.outputs], "output")
    return labels.fit(f"{inputs} → {outputs}")


def _listed(names: Sequence[str], what: str) -> str:
    return ", ".join(names) if len(names) <= MOST_NAMED else f"{len(names)} {what}s"


class _Walk:
    """Goes through the program in order; ``values`` says where each value comes from."""

    def __init__(self, graph: Graph, found: dict[str, Any], detail: Detail, most: int) -> None:
        self.graph = graph
        self._functions = found
        self._detail = detail
        self._opens = detail.calls or detail.regions
        self._most = most
        self._values: dict[Any, Meaning] = {}
        self._elementwise: dict[str, bool] = {}
        self._counts: dict[str, int] = {}

    def main(self, main: Any, signature: Signature) -> None:
        """Inputs, everything, outputs."""
        self.graph.operations = sum(self._count(operation) for operation, _ in operations(main))
        block = entry_block(main)
        for number, (argument, param) in enumerate(
            zip(block.arguments, signature.inputs, strict=True)
        ):
            self._values[argument] = self.graph.add(Box("input", [param.name or f"in {number}"]))
        returned = self._block(block, None)
        for number, (value, param) in enumerate(zip(returned, signature.outputs, strict=True)):
            box = self.graph.add(Box("output", [param.name or f"out {number}"]))
            self._feed(box, [value])

    def _block(self, block: Any, parent: Box | None) -> Sequence[Any]:
        """The values that a block returns."""
        for view in block.operations:
            operation = view.operation
            if operation.name in RETURNS:
                return list(operation.operands)
            self._operation(operation, parent)
        return ()

    def _operation(self, operation: Any, parent: Box | None) -> None:
        if self._opens and len(self.graph.boxes) > self._most:
            raise TooMany
        if operation.name == "stablehlo.constant":
            self._constant(operation, parent)
        elif operation.name in CALLS:
            self._call(operation, parent)
        elif operation.name in REGIONS and self._detail.regions:
            self._regions(operation, parent)
        elif operation.name == ON_DEVICES and self._detail.regions:
            self._open("on each device", operation.regions[0].blocks[0], operation, parent)
        else:
            self._plain(operation, parent)

    def _constant(self, operation: Any, parent: Box | None) -> None:
        number = labels.literal(operation)
        made = self.graph.add(Box("constant", ["constant"], parent)) if number is None else number
        self._values[operation.results[0]] = made

    def _plain(self, operation: Any, parent: Box | None) -> None:
        """A box; what only reshapes a number is still that number."""
        aside = labels.is_aside(operation)
        meanings = [self._values.get(value) for value in operation.operands]
        numbers = [meaning for meaning in meanings if isinstance(meaning, str)]
        if aside and numbers:
            self._values[operation.results[0]] = numbers[0]
            return
        name = labels.label(operation)
        box = Box("operations", [] if aside else [" ".join([name, *numbers])], parent)
        box.asides = [name] if aside else []
        box.joins = aside or labels.is_elementwise(operation)
        box.operations += sum(self._count(inner) for inner, _ in operations(operation))
        self._place(box, operation)

    def _place(self, box: Box, operation: Any) -> None:
        """Add a box that makes an operation's results of all that it reads."""
        self.graph.add(box)
        self._feed(box, operation.operands)
        for inner, _ in operations(operation):  # what a body uses of what is around it
            self._feed(box, [value for value in inner.operands if value in self._values])
        self._means(operation.results, [box] * len(operation.results))

    def _call(self, operation: Any, parent: Box | None) -> None:
        name = _callee(operation)
        if not self._detail.calls or self._is_one_box(name):
            box = Box("operations", [labels.fit(name)], parent)
            box.joins = name in self._functions and self._is_elementwise(name)
            box.operations = self._inside(name)
            self._place(box, operation)
            return
        self._open(labels.fit(name), entry_block(self._functions[name]), operation, parent)

    def _open(self, title: str, block: Any, operation: Any, parent: Box | None) -> None:
        """A block in place of the operation: its arguments are the operands."""
        cluster = self.graph.add(Box("cluster", [title], parent))
        self._means(block.arguments, [self._values.get(value, "") for value in operation.operands])
        returned = self._block(block, cluster)
        self._means(operation.results, [self._values.get(value, "") for value in returned])

    def _regions(self, operation: Any, parent: Box | None) -> None:
        """A cluster for the whole and one for each region; what they return meets in a last box."""
        name, titles = REGIONS[operation.name]
        cluster = self.graph.add(Box("cluster", [name], parent))
        is_loop = operation.name == "stablehlo.while"
        last = Box("turn", ["next turn, or end" if is_loop else "the one chosen"], cluster)
        if is_loop:
            first = self.graph.add(Box("turn", ["each turn"], cluster))
            self._feed(first, operation.operands)
        returned = list[Any]()
        for number, region in enumerate(operation.regions):
            title = titles[number] if titles else f"branch {number}"
            inner = self.graph.add(Box("cluster", [title], cluster))
            block = region.blocks[0]
            if is_loop:
                self._means(block.arguments, [first] * len(block.arguments))
            returned += self._block(block, inner)
        self.graph.add(last)
        self._feed(last, returned if is_loop else [*operation.operands, *returned])
        self._means(operation.results, [last] * len(operation.results))

    def _means(self, values: Iterable[Any], meanings: Sequence[Meaning]) -> None:
        self._values.update(zip(values, meanings, strict=True))

    def _feed(self, box: Box, values: Iterable[Any]) -> None:
        for value in values:
            source = self._values.get(value)
            if isinstance(source, Box) and source is not box:
                self.graph.connect(source, box, {value: labels.type_name(value.type)})

    # what functions hold

    def _is_one_box(self, name: str) -> bool:
        """Whether there is nothing to see inside."""
        known = name in self._functions
        return not known or self._inside(name) == 1 or self._is_elementwise(name)

    def _is_elementwise(self, name: str) -> bool:
        """Whether a function does nothing but work on each element by itself."""
        known = self._elementwise.get(name)
        if known is None:
            inside = [op for op, _ in operations(self._functions[name])]
            known = self._elementwise[name] = all(map(self._fits_elementwise, inside))
        return known

    def _fits_elementwise(self, operation: Any) -> bool:
        if operation.name in CALLS:
            name = _callee(operation)
            return name in self._functions and self._is_elementwise(name)
        known = (*RETURNS, "stablehlo.constant")
        return (
            operation.name in known
            or labels.is_elementwise(operation)
            or labels.is_aside(operation)
        )

    def _inside(self, name: str) -> int:
        """How many operations a call of a function is."""
        if name not in self._functions:
            return 1
        if name not in self._counts:
            inside = operations(self._functions[name])
            self._counts[name] = sum(self._count(operation) for operation, _ in inside)
        return self._counts[name]

    def _count(self, operation: Any) -> int:
        if operation.name in RETURNS:
            return 0
        return self._inside(_callee(operation)) if operation.name in CALLS else 1


def _callee(operation: Any) -> str:
    key = "callee" if operation.name == "func.call" else "decomposition"
    return str(operation.attributes[key].value)
