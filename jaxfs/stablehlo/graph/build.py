"""A module's main function as nodes and edges.

Called functions are expanded where they are called, as clusters with their names; loops and
branches are clusters too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from jaxfs.stablehlo.graph import labels
from jaxfs.stablehlo.graph.model import Graph, GraphNode
from jaxfs.stablehlo.module.entry_function import entry_block
from jaxfs.stablehlo.module.walk import functions, operations
from jaxfs.types.signature import Signature

FUSION_RATIO = 20  # nodes before fusion that may become one
MAX_NAMED = 4  # inputs, or outputs, that the title names
CALLS = ("func.call", "stablehlo.composite")
RETURNS = ("func.return", "stablehlo.return", "sdy.return")
ON_DEVICES = "sdy.manual_computation"
REGIONS = {  # title of the cluster, titles of the regions' clusters
    "stablehlo.while": ("while", ("condition", "body")),
    "stablehlo.if": ("if", ("true", "false")),
    "stablehlo.case": ("case", ()),
}
Origin = GraphNode | str  # of a value: a node, or a literal that is written where it is used


class TooManyNodes(Exception):
    """The expanded program has more nodes than can be drawn."""


@attrs.frozen
class Expansion:
    """What is expanded to a cluster instead of drawn as one node.

    Attributes:
        calls: Functions that are called.
        regions: Loops, branches, and what runs on each device.
    """

    calls: bool = True
    regions: bool = True


def build(module: Any, signature: Signature, expansion: Expansion, max_nodes: int) -> Graph:
    """Returns the graph of a module's main function.

    Raises:
        TooManyNodes: It is expanded to far more nodes than fusion could make ``max_nodes`` of.
    """
    found = functions(module)
    main = found["main"]
    builder = _Builder(Graph(_title(signature)), found, expansion, max_nodes * FUSION_RATIO)
    builder.add_main(main, signature)
    return builder.graph


def _title(signature: Signature) -> str:
    """Returns the inputs' and outputs' names or types; artifacts have no names."""
    inputs = _listed([param.name or str(param.aval) for param in signature.inputs], "input")
    outputs = _listed([param.name or str(param.aval) for param in signature.outputs], "output")
    return labels.shorten(f"{inputs} → {outputs}")


def _listed(names: Sequence[str], kind: str) -> str:
    return ", ".join(names) if len(names) <= MAX_NAMED else f"{len(names)} {kind}s"


class _Builder:
    """Adds a program's operations to a graph, in order, and records the origin of each value."""

    def __init__(
        self, graph: Graph, found: dict[str, Any], expansion: Expansion, max_nodes: int
    ) -> None:
        self.graph = graph
        self._functions = found
        self._expansion = expansion
        self._max_nodes = max_nodes
        self._origins: dict[Any, Origin] = {}
        self._elementwise: dict[str, bool] = {}
        self._sizes: dict[str, int] = {}

    def add_main(self, main: Any, signature: Signature) -> None:
        """Adds inputs, all operations, and outputs."""
        self.graph.operations = sum(self._count(operation) for operation, _ in operations(main))
        block = entry_block(main)
        for number, (argument, param) in enumerate(
            zip(block.arguments, signature.inputs, strict=True)
        ):
            node = GraphNode("input", [param.name or f"in {number}"])
            self._origins[argument] = self.graph.add(node)
        returned = self._add_block(block, None)
        for number, (value, param) in enumerate(zip(returned, signature.outputs, strict=True)):
            node = self.graph.add(GraphNode("output", [param.name or f"out {number}"]))
            self._connect(node, [value])

    def _add_block(self, block: Any, parent: GraphNode | None) -> Sequence[Any]:
        """Adds a block's operations; returns the values that it returns."""
        for view in block.operations:
            operation = view.operation
            if operation.name in RETURNS:
                return list(operation.operands)
            self._add_operation(operation, parent)
        return ()

    def _add_operation(self, operation: Any, parent: GraphNode | None) -> None:
        is_expanded = self._expansion.calls or self._expansion.regions
        if is_expanded and len(self.graph.nodes) > self._max_nodes:
            raise TooManyNodes
        if operation.name == "stablehlo.constant":
            literal = labels.literal(operation)
            node = GraphNode("constant", ["constant"], parent)
            self._origins[operation.results[0]] = (
                self.graph.add(node) if literal is None else literal
            )
        elif operation.name in CALLS:
            self._add_call(operation, parent)
        elif operation.name in REGIONS and self._expansion.regions:
            self._add_regions(operation, parent)
        elif operation.name == ON_DEVICES and self._expansion.regions:
            self._expand("on each device", operation.regions[0].blocks[0], operation, parent)
        else:
            self._add_plain(operation, parent)

    def _add_plain(self, operation: Any, parent: GraphNode | None) -> None:
        """Adds one node; a literal whose shape or type changes remains a literal."""
        is_minor = labels.is_minor(operation)
        origins = [self._origins.get(value) for value in operation.operands]
        literals = [origin for origin in origins if isinstance(origin, str)]
        if is_minor and literals:
            self._origins[operation.results[0]] = literals[0]
            return
        name = labels.label(operation)
        node = GraphNode("operations", [] if is_minor else [" ".join([name, *literals])], parent)
        node.minor_labels = [name] if is_minor else []
        node.is_fusible = is_minor or labels.is_elementwise(operation)
        node.operations += sum(self._count(inner) for inner, _ in operations(operation))
        self._add_producer(node, operation)

    def _add_producer(self, node: GraphNode, operation: Any) -> None:
        """Adds the node that makes an operation's results from all that it reads."""
        self.graph.add(node)
        self._connect(node, operation.operands)
        for inner, _ in operations(operation):  # values around a region that it uses
            self._connect(node, [value for value in inner.operands if value in self._origins])
        self._bind(operation.results, [node] * len(operation.results))

    def _add_call(self, operation: Any, parent: GraphNode | None) -> None:
        """Adds a call as one node, if its function is not expanded or has nothing to show."""
        name = _callee(operation)
        is_known = name in self._functions
        is_elementwise = is_known and self._is_elementwise(name)
        is_one = not is_known or self._size(name) == 1 or is_elementwise
        if self._expansion.calls and not is_one:
            block = entry_block(self._functions[name])
            self._expand(labels.shorten(name), block, operation, parent)
            return
        node = GraphNode("operations", [labels.shorten(name)], parent, is_elementwise)
        node.operations = self._size(name)
        self._add_producer(node, operation)

    def _expand(self, title: str, block: Any, operation: Any, parent: GraphNode | None) -> None:
        """Adds a cluster of a block's operations; its arguments are the operation's operands."""
        cluster = self.graph.add(GraphNode("cluster", [title], parent))
        self._bind(block.arguments, [self._origins.get(value, "") for value in operation.operands])
        returned = self._add_block(block, cluster)
        self._bind(operation.results, [self._origins.get(value, "") for value in returned])

    def _add_regions(self, operation: Any, parent: GraphNode | None) -> None:
        """Adds a cluster with one for each region; what they return goes to a last node."""
        name, titles = REGIONS[operation.name]
        cluster = self.graph.add(GraphNode("cluster", [name], parent))
        is_loop = operation.name == "stablehlo.while"
        last = GraphNode("turn", ["next turn, or end" if is_loop else "the one chosen"], cluster)
        if is_loop:
            first = self.graph.add(GraphNode("turn", ["each turn"], cluster))
            self._connect(first, operation.operands)
        returned = list[Any]()
        for number, region in enumerate(operation.regions):
            title = titles[number] if titles else f"branch {number}"
            inner = self.graph.add(GraphNode("cluster", [title], cluster))
            block = region.blocks[0]
            if is_loop:
                self._bind(block.arguments, [first] * len(block.arguments))
            returned += self._add_block(block, inner)
        self.graph.add(last)
        self._connect(last, returned if is_loop else [*operation.operands, *returned])
        self._bind(operation.results, [last] * len(operation.results))

    def _bind(self, values: Iterable[Any], origins: Sequence[Origin]) -> None:
        self._origins.update(zip(values, origins, strict=True))

    def _connect(self, node: GraphNode, values: Iterable[Any]) -> None:
        """Adds edges to a node from the nodes that make these values."""
        for value in values:
            source = self._origins.get(value)
            if isinstance(source, GraphNode) and source is not node:
                self.graph.connect(source, node, {value: labels.type_label(value.type)})

    def _is_elementwise(self, name: str) -> bool:
        """Returns whether a function only works on each element by itself."""
        known = self._elementwise.get(name)
        if known is None:
            body = [op for op, _ in operations(self._functions[name])]
            known = self._elementwise[name] = all(map(self._is_elementwise_operation, body))
        return known

    def _is_elementwise_operation(self, operation: Any) -> bool:
        if operation.name in CALLS:
            name = _callee(operation)
            return name in self._functions and self._is_elementwise(name)
        return (
            operation.name in (*RETURNS, "stablehlo.constant")
            or labels.is_elementwise(operation)
            or labels.is_minor(operation)
        )

    def _size(self, name: str) -> int:
        """Returns the number of operations that a call of a function runs."""
        if name not in self._functions:
            return 1
        if name not in self._sizes:
            body = operations(self._functions[name])
            self._sizes[name] = sum(self._count(operation) for operation, _ in body)
        return self._sizes[name]

    def _count(self, operation: Any) -> int:
        if operation.name in RETURNS:
            return 0
        return self._size(_callee(operation)) if operation.name in CALLS else 1


def _callee(operation: Any) -> str:
    key = "callee" if operation.name == "func.call" else "decomposition"
    return str(operation.attributes[key].value)
