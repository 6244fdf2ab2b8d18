"""The positions of nodes and edges: a layered drawing by graphlay, from top to bottom.

Sizes are in pixels.  Text is set in a monospaced typeface, so that its size is known without the
typeface.
"""

from __future__ import annotations

from collections import Counter
from textwrap import wrap

import attrs
import graphlay

from jaxfs.errors import NotSupported
from jaxfs.stablehlo.graph.model import Graph, GraphNode

LETTER = 0.602  # the width of a letter of monospaced typefaces, for a font size of one
TEXT_PX, SMALL_PX = 12.0, 10.0  # font sizes of nodes, and of edges and clusters
LINE_PX = 15.0
MAX_LINE_LETTERS = 26
MAX_LINES = 4
MAX_TYPES = 2  # in the label of an edge
_OPTIONS = {
    "direction": "topbottom",
    "spacing": {
        "layer_gap": 34.0,
        "node_gap": 26.0,
        "dummy_gap": 18.0,
        "compound_padding": 16.0,
        "compound_header": 16.0,
        "edge_label_margin": 6.0,
    },
    "routing": {"style": "diagonal"},
}


@attrs.frozen
class PlacedNode:
    """A node with its rectangle.

    Attributes:
        node: The node of the graph.
        x: The middle of the rectangle, from the left.
        y: The middle of the rectangle, from the top.
        width: Its width.
        height: Its height.
        lines: The node's labels, in lines.
    """

    node: GraphNode
    x: float
    y: float
    width: float
    height: float
    lines: tuple[str, ...]


@attrs.frozen
class RoutedEdge:
    """An edge with its polyline.

    Attributes:
        points: The corners of the line, from source to target.
        label: The types of the values.
        label_at: The middle of the label, if there is one.
    """

    points: tuple[tuple[float, float], ...]
    label: str
    label_at: tuple[float, float] | None

    @property
    def label_width(self) -> float:
        """Returns the width of the label."""
        return len(self.label) * LETTER * SMALL_PX


@attrs.frozen
class GraphLayout:
    """A graph with positions.

    Attributes:
        nodes: The nodes, clusters before their contents.
        edges: The edges.
        bounds: Left, top, right and bottom of all of them.
    """

    nodes: tuple[PlacedNode, ...]
    edges: tuple[RoutedEdge, ...]
    bounds: tuple[float, float, float, float]


def lay_out(graph: Graph) -> GraphLayout:
    """Returns a layered layout of a graph.

    Raises:
        NotSupported: There is none; the message has the reason.
    """
    nodes = _without_empty_clusters(graph.nodes)
    request = graphlay.Graph()
    numbers = {id(node): number for number, node in enumerate(nodes)}
    lines = [_lines(node) for node in nodes]
    for node, its_lines in zip(nodes, lines, strict=True):
        letters = max(map(len, its_lines), default=0)
        width, height = letters * LETTER * TEXT_PX + 20, len(its_lines) * LINE_PX + 12
        number = request.node(width=width, height=height)
        if node.parent is not None:
            request.nodes[number]["parent"] = numbers[id(node.parent)]
    labels = [_edge_label(Counter(values.values())) for values in graph.edges.values()]
    for (source, target), label in zip(graph.edges, labels, strict=True):
        size = {"width": len(label) * LETTER * SMALL_PX + 4, "height": SMALL_PX + 2}
        request.edge(numbers[id(source)], numbers[id(target)], label_size=size)
    try:
        found = graphlay.layout(request, options=_OPTIONS)
    except graphlay.GraphlayError as error:
        raise NotSupported(f"this program cannot be drawn: {error}") from None
    return _graph_layout(nodes, lines, labels, found)


def _graph_layout(
    nodes: list[GraphNode], lines: list[tuple[str, ...]], labels: list[str], found: graphlay.Layout
) -> GraphLayout:
    """Returns graphlay's answer as records; labels of edges may reach beyond its bounds."""
    placed = tuple(
        PlacedNode(
            node,
            at["center"]["x"],
            at["center"]["y"],
            at["size"]["width"],
            at["size"]["height"],
            its_lines,
        )
        for node, its_lines, at in zip(nodes, lines, found.nodes, strict=True)
    )
    edges = tuple(
        RoutedEdge(tuple((p["x"], p["y"]) for p in edge["points"]), label, _anchor(edge))
        for edge, label in zip(found.edges, labels, strict=True)
    )
    low, high = found.bounds["min"], found.bounds["max"]
    reach = [(edge.label_at[0], edge.label_width / 2) for edge in edges if edge.label_at]
    left = min([low["x"], *(x - half for x, half in reach)])
    right = max([high["x"], *(x + half for x, half in reach)])
    return GraphLayout(placed, edges, (left, low["y"], right, high["y"]))


def _anchor(edge: dict[str, dict[str, float]]) -> tuple[float, float] | None:
    anchor = edge["label_anchor"]
    return (anchor["x"], anchor["y"]) if anchor else None


def _without_empty_clusters(nodes: list[GraphNode]) -> list[GraphNode]:
    """Returns the nodes without clusters that contain no other nodes, at any depth."""
    used: set[int] = set()
    for node in nodes:
        around = node if node.kind != "cluster" else None
        while around is not None and id(around) not in used:
            used.add(id(around))
            around = around.parent
    return [node for node in nodes if id(node) in used]


def _lines(node: GraphNode) -> tuple[str, ...]:
    """Returns a node's labels in lines; if there are too many, the last has a count instead."""
    labels = node.labels or node.minor_labels
    lines = [line for label in _joined(labels) for line in wrap(label, MAX_LINE_LETTERS)]
    if len(lines) <= MAX_LINES:
        return tuple(lines)
    return (*lines[: MAX_LINES - 1], f"… of {node.operations} operations")


def _joined(labels: list[str]) -> list[str]:
    """Returns labels joined by commas, as many on a line as fit."""
    lines = [""]
    for label in labels:
        longer = f"{lines[-1]}, {label}" if lines[-1] else label
        if len(longer) <= MAX_LINE_LETTERS or not lines[-1]:
            lines[-1] = longer
        else:
            lines[-1] += ","
            lines.append(label)
    return lines


def _edge_label(types: Counter[str]) -> str:
    """Returns the types of an edge's values, with counts: ``f32[4], i32[] and 1 more``."""
    counted = [f"{count} × {name}" if count > 1 else name for name, count in types.items()]
    more = len(counted) - MAX_TYPES
    return ", ".join(counted[:MAX_TYPES]) + (f" and {more} more" if more > 0 else "")
