"""The graph that is drawn: nodes, clusters that contain nodes, and edges between nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs

NodeKind = Literal["input", "output", "constant", "operations", "turn", "cluster"]


@attrs.define(eq=False)
class GraphNode:
    """One box of the picture; a cluster is a box around others.

    Attributes:
        kind: What it is; also its class in the SVG.  A ``turn`` begins or ends a loop or a branch.
        labels: The operations that compute, in order; for other kinds, the name.
        parent: The cluster that contains it.
        is_fusible: Whether it works on each element by itself, so that it may be fused with others.
        minor_labels: The operations that only change a shape or a type.
        operations: The number of operations it is drawn for.
    """

    kind: NodeKind
    labels: list[str]
    parent: GraphNode | None = None
    is_fusible: bool = False
    minor_labels: list[str] = attrs.field(factory=list)
    operations: int = 1

    @property
    def is_minor(self) -> bool:
        """Returns whether it only changes a shape or a type."""
        return self.kind == "operations" and not self.labels


@attrs.define
class Graph:
    """Nodes in program order, so that every edge goes forward; clusters before their contents.

    Attributes:
        name: The heading of the picture.
        operations: The number of operations in the program, with its calls.
        nodes: All nodes, clusters included.
        edges: By source and target, the types of the values that flow between them.
    """

    name: str
    operations: int = 0
    nodes: list[GraphNode] = attrs.field(factory=list)
    edges: dict[tuple[GraphNode, GraphNode], dict[object, str]] = attrs.field(factory=dict)

    def add(self, node: GraphNode) -> GraphNode:
        """Appends a node, and returns it."""
        self.nodes.append(node)
        return node

    def connect(self, source: GraphNode, target: GraphNode, values: Mapping[object, str]) -> None:
        """Adds values, each with its type, to the edge between two nodes."""
        self.edges.setdefault((source, target), {}).update(values)

    @property
    def leaves(self) -> list[GraphNode]:
        """Returns the nodes that are no clusters."""
        return [node for node in self.nodes if node.kind != "cluster"]
