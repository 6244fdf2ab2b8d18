"""A laid out graph as SVG 1.1, for light and dark screens, and for screen readers.

It has a title and a description, and a title for each element, as
https://www.w3.org/TR/SVG-access/ recommends.
"""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from jaxfs.stablehlo.graph.layout import (
    LETTER,
    LINE_PX,
    SMALL_PX,
    TEXT_PX,
    GraphLayout,
    PlacedNode,
    RoutedEdge,
)
from jaxfs.stablehlo.graph.model import Graph

MARGIN_PX = 24.0
HEADER_PX = 44.0
DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
_HEAVY = ("dot_general", "dot", "convolution", "fft", "triangular_solve", "cholesky")
_STYLE = """
text { font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.paper { fill: #ffffff; }
.box { fill: #f4f6f9; stroke: #5b6b80; stroke-width: 1.2; }
.input .box, .output .box { fill: #e3f1ec; stroke: #2f7d63; }
.constant .box { fill: #f6efdf; stroke: #94701c; }
.heavy .box { fill: #e4ecfb; stroke: #3a62b3; stroke-width: 1.8; }
.turn .box { fill: #f1e8f7; stroke: #7a4a9e; }
.cluster .box { fill: #5b6b80; fill-opacity: 0.06; stroke: #8492a6; stroke-dasharray: 5 4; }
.name { fill: #1d2530; }
.small { fill: #566274; }
.behind { fill: #ffffff; fill-opacity: 0.82; }
.edge { fill: none; stroke: #6d7b8f; stroke-width: 1.3; }
.head { fill: #6d7b8f; }
@media (prefers-color-scheme: dark) {
.paper { fill: #14181e; }
.box { fill: #222933; stroke: #8d9cb0; }
.input .box, .output .box { fill: #173229; stroke: #5cb896; }
.constant .box { fill: #352b14; stroke: #cfa545; }
.heavy .box { fill: #1b2a49; stroke: #7fa4ee; }
.turn .box { fill: #2f1f3b; stroke: #b98ad9; }
.name { fill: #e8edf3; }
.small { fill: #a9b5c5; }
.behind { fill: #14181e; }
.edge { stroke: #8d9cb0; }
.head { fill: #8d9cb0; }
}
"""


def render(graph: Graph, layout: GraphLayout, note: str) -> bytes:
    """Returns SVG in UTF-8, with an XML declaration.

    Args:
        graph: The graph; its name is the heading.
        layout: Its layout.
        note: What is drawn in less detail, for the line below the heading.
    """
    left, top, right, bottom = layout.bounds
    heading = [graph.name, " ".join([_summary(graph), note]).strip()]
    wide = max(
        len(heading[0]) * LETTER * (TEXT_PX + 2), len(heading[1]) * LETTER * SMALL_PX, right - left
    )
    width, height = wide + 2 * MARGIN_PX, bottom - top + HEADER_PX + 2 * MARGIN_PX
    x, y = left - MARGIN_PX - (wide - (right - left)) / 2, top - MARGIN_PX - HEADER_PX
    root = _root(x, y, width, height, heading)
    SubElement(root, "rect", _attributes("paper", x=x, y=y, width=width, height=height, rx=6.0))
    _text(root, "name", x + MARGIN_PX, y + MARGIN_PX + 8, TEXT_PX + 2, heading[0], "start")
    _text(root, "small", x + MARGIN_PX, y + MARGIN_PX + 26, SMALL_PX, heading[1], "start")
    for placed in layout.nodes:
        if placed.node.kind == "cluster":
            _draw_cluster(root, placed)
    for edge in layout.edges:
        _draw_edge(root, edge)
    for placed in layout.nodes:
        if placed.node.kind != "cluster":
            _draw_node(root, placed)
    ElementTree.indent(root, "")
    text: str = ElementTree.tostring(root, "unicode")
    return f"{DECLARATION}{text}\n".encode()


def _summary(graph: Graph) -> str:
    """Returns the size of the graph, such as ``7 operations in 5 boxes.``; "" for an empty one."""
    if not graph.nodes:
        return ""
    operations, boxes = graph.operations, len(graph.leaves)
    return (
        f"{operations} operation{'s' if operations != 1 else ''} "
        f"in {boxes} box{'es' if boxes != 1 else ''}."
    )


def _root(x: float, y: float, width: float, height: float, heading: Iterable[str]) -> Element:
    """Returns the svg element with its title, description, styles and arrow head."""
    root = Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": " ".join(f"{n:.1f}" for n in (x, y, width, height)),
            "width": f"{width:.0f}",
            "height": f"{height:.0f}",
            "role": "img",
            "aria-labelledby": "title desc",
        },
    )
    for tag, text in zip(("title", "desc"), heading, strict=True):
        SubElement(root, tag, {"id": tag}).text = text
    SubElement(root, "style").text = _STYLE
    marker = {"id": "head", "viewBox": "0 0 8 8", "refX": "7", "refY": "4", "orient": "auto"}
    size = {"markerWidth": "7", "markerHeight": "7", "markerUnits": "userSpaceOnUse"}
    head = SubElement(SubElement(root, "defs"), "marker", {**marker, **size})
    SubElement(head, "path", {"class": "head", "d": "M0,0 L8,4 L0,8 Z"})
    return root


def _group(root: Element, name: str, title: str) -> Element:
    group = SubElement(root, "g", {"class": name})
    SubElement(group, "title").text = title
    return group


def _rect(group: Element, placed: PlacedNode, round_px: float) -> None:
    corner = {"x": placed.x - placed.width / 2, "y": placed.y - placed.height / 2}
    size = {"width": placed.width, "height": placed.height, "rx": round_px}
    SubElement(group, "rect", _attributes("box", **corner, **size))


def _draw_cluster(root: Element, placed: PlacedNode) -> None:
    name = " ".join(placed.node.labels)
    group = _group(root, "cluster", name)
    _rect(group, placed, 8.0)
    x, y = placed.x - placed.width / 2 + 9, placed.y - placed.height / 2 + 14
    _text(group, "small", x, y, SMALL_PX, name, "start")


def _draw_node(root: Element, placed: PlacedNode) -> None:
    node = placed.node
    is_heavy = node.kind == "operations" and any(one.startswith(_HEAVY) for one in node.labels)
    title = ", ".join([*node.labels, *node.minor_labels])
    group = _group(root, "heavy" if is_heavy else node.kind, title)
    _rect(group, placed, placed.height / 2 if node.kind in ("input", "output") else 4.0)
    first = placed.y - (len(placed.lines) - 1) * LINE_PX / 2 + TEXT_PX * 0.35
    for number, line in enumerate(placed.lines):
        _text(group, "name", placed.x, first + number * LINE_PX, TEXT_PX, line, "middle")


def _draw_edge(root: Element, edge: RoutedEdge) -> None:
    group = _group(root, "flow", edge.label)
    corners = " L".join(f"{x:.1f},{y:.1f}" for x, y in edge.points)
    SubElement(group, "path", {"class": "edge", "d": f"M{corners}", "marker-end": "url(#head)"})
    if edge.label_at is not None:
        x, y = edge.label_at
        corner = {"x": x - edge.label_width / 2 - 1, "y": y - SMALL_PX / 2 - 1}
        size = {"width": edge.label_width + 2, "height": SMALL_PX + 2, "rx": 2.0}
        SubElement(group, "rect", _attributes("behind", **corner, **size))
        _text(group, "small", x, y + SMALL_PX * 0.35, SMALL_PX, edge.label, "middle")


def _text(
    parent: Element, name: str, x: float, y: float, size: float, text: str, anchor: str
) -> None:
    attributes = {**_attributes(name, x=x, y=y), "font-size": f"{size:g}", "text-anchor": anchor}
    SubElement(parent, "text", attributes).text = text


def _attributes(name: str, **numbers: float) -> dict[str, str]:
    return {"class": name, **{key: f"{number:.1f}" for key, number in numbers.items()}}
