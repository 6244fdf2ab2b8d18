"""Fewer nodes: fusion of elementwise operations, and coarsening of graphs that are too large.

Both leave a graph without cycles: a node is fused with the only one that uses it, and coarsening
merges neighbours in an order in which every edge goes forward.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice

import attrs

from jaxfs.stablehlo.graph.model import Graph, GraphNode, NodeKind

MAX_OF_KIND = 40  # inputs, outputs or constants with nodes of their own
MERGED_KINDS: tuple[NodeKind, ...] = ("input", "constant", "output")


def fuse(graph: Graph) -> Graph:
    """Returns the graph with each chain of elementwise operations as one node."""
    users: dict[GraphNode, set[GraphNode]] = {node: set() for node in graph.nodes}
    for source, target in graph.edges:
        users[source].add(target)
    into: dict[GraphNode, GraphNode] = {}
    for node in reversed(graph.nodes):
        found = {into.get(user, user) for user in users[node]}
        only = found.pop() if len(found) == 1 else None
        if only is not None and _may_fuse(node, only):
            into[node] = only
            only.labels[:0], only.minor_labels[:0] = node.labels, node.minor_labels
            only.operations += node.operations
    return _contracted(graph, lambda node: into.get(node, node))


def _may_fuse(node: GraphNode, user: GraphNode) -> bool:
    if node.parent is not user.parent or user.kind != "operations":
        return False
    return node.is_minor or (node.is_fusible and user.is_fusible and not user.is_minor)


def coarsen(graph: Graph, max_nodes: int) -> Graph:
    """Returns a graph without clusters with at most ``max_nodes`` nodes.

    Neighbours become one node.  So do inputs, outputs and constants if there are very many; an
    input that only one node uses is absorbed by it, and mentioned in its label.
    """
    kinds = Counter(node.kind for node in graph.nodes)
    many = {kind for kind in MERGED_KINDS if kinds[kind] > MAX_OF_KIND}
    absorbed = {node: user for node, user in _only_users(graph) if node.kind in many}
    into: dict[GraphNode, GraphNode] = {}
    for kind in many:
        nodes = [node for node in graph.nodes if node.kind == kind and node not in absorbed]
        if len(nodes) > 1:
            into.update(dict.fromkeys(nodes, GraphNode(kind, [_some(len(nodes), kind)])))
    others = (node for node in graph.nodes if node.kind != "operations" and node not in absorbed)
    left = max(1, max_nodes - len({into.get(node, node) for node in others}))
    for neighbours in _runs([node for node in graph.nodes if node.kind == "operations"], left):
        into.update(dict.fromkeys(neighbours, _merged(neighbours)))
    notes = Counter((into[user], node.kind) for node, user in absorbed.items())
    for (user, kind), count in notes.items():
        user.labels.append(f"({_some(count, kind)})")
    into.update((node, into[user]) for node, user in absorbed.items())
    return _contracted(graph, lambda node: into.get(node, node))


def _only_users(graph: Graph) -> Iterator[tuple[GraphNode, GraphNode]]:
    """Yields nodes that exactly one node uses, which is of operations, with that one."""
    users: dict[GraphNode, set[GraphNode]] = {}
    for source, target in graph.edges:
        users.setdefault(source, set()).add(target)
    for node, found in users.items():
        user = next(iter(found))
        if len(found) == 1 and user.kind == "operations":
            yield node, user


def _some(count: int, kind: str) -> str:
    return f"{count} {kind}" if count == 1 else f"{count} {kind}s"


def _merged(nodes: list[GraphNode]) -> GraphNode:
    """Returns one node for several, with their labels and how often each occurs."""
    counts = Counter(label for node in nodes for label in node.labels or node.minor_labels)
    labels = [f"{label} ×{count}" if count > 1 else label for label, count in counts.items()]
    return GraphNode("operations", labels, operations=sum(node.operations for node in nodes))


def _runs(nodes: list[GraphNode], count: int) -> Iterator[list[GraphNode]]:
    """Yields at most ``count`` lists of successive nodes, equally long but for the last."""
    length = -(-len(nodes) // count) or 1
    rest = iter(nodes)
    while run := list(islice(rest, length)):
        yield run


def _contracted(graph: Graph, of: Callable[[GraphNode], GraphNode]) -> Graph:
    """Returns the graph with every node replaced by ``of(node)``.

    A node comes where the last one it replaces was, an input or a cluster where the first one was,
    so that edges go forward.
    """
    last = {of(node): number for number, node in enumerate(graph.nodes)}
    first = {of(node): number for number, node in reversed(list(enumerate(graph.nodes)))}
    order = {
        node: first[node] if node.kind in ("input", "cluster") else last[node] for node in last
    }
    found = attrs.evolve(graph, nodes=sorted(order, key=order.__getitem__), edges={})
    for (source, target), values in graph.edges.items():
        if of(source) is not of(target):
            found.connect(of(source), of(target), values)
    return found
