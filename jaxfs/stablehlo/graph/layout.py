"""Where everything stands: a layered drawing by graphlay, from top to bottom.

Sizes are in pixels.  Text is set in a typeface whose letters are all of one width, so that its size
is known without the typeface.
"""

from __future__ import annotations

from collections import Counter
from textwrap import wrap

import attrs
import graphlay

from jaxfs.errors import NotSupported
from jaxfs.stablehlo.graph.model import Box, Graph

LETTER = 0.602  # widths of one, for a font size of one: what monospaced typefaces have
TEXT_PX, SMALL_PX = 12.0, 10.0  # font sizes of boxes, and of edges and clusters
LINE_PX = 15.0
LINE_LETTERS = 26
MOST_LINES = 4
MOST_TYPES = 2  # on an edge
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
class Placed:
    """A box: its middle, its size, its lines of text."""

    box: Box
    x: float
    y: float
    width: float
    height: float
    lines: tuple[str, ...]


@attrs.frozen
class EdgePath:
    """An edge: its corners, its text and the middle of that."""

    points: tuple[tuple[float, float], ...]
    text: str
    at: tuple[float, float] | None

    @property
    def width(self) -> float:
        """Of the text."""
        return len(self.text) * LETTER * SMALL_PX


@attrs.frozen
class Drawing:
    """Everything with its place; ``bounds`` are left, top, right and bottom."""

    placed: tuple[Placed, ...]
    paths: tuple[EdgePath, ...]
    bounds: tuple[float, float, float, float]


def place(graph: Graph) -> Drawing:
    """Raises NotSupported for what cannot be laid out."""
    boxes = _without_empty_clusters(graph.boxes)
    request = graphlay.Graph()
    numbers = {id(box): number for number, box in enumerate(boxes)}
    sizes = [_lines(box) for box in boxes]
    for box, lines in zip(boxes, sizes, strict=True):
        width, height = _size(lines)
        number = request.node(width=width, height=height)
        if box.parent is not None:
            request.nodes[number]["parent"] = numbers[id(box.parent)]
    texts = [_edge_text(Counter(values.values())) for values in graph.edges.values()]
    for (source, target), text in zip(graph.edges, texts, strict=True):
        size = {"width": len(text) * LETTER * SMALL_PX + 4, "height": SMALL_PX + 2}
        request.edge(numbers[id(source)], numbers[id(target)], label_size=size)
    try:
        found = graphlay.layout(request, options=_OPTIONS)
    except graphlay.GraphlayError as error:
        raise NotSupported(f"this program cannot be drawn: {error}") from None
    return _drawing(boxes, sizes, texts, found)


def _drawing(
    boxes: list[Box], sizes: list[tuple[str, ...]], texts: list[str], found: graphlay.Layout
) -> Drawing:
    placed = tuple(
        Placed(
            box,
            node["center"]["x"],
            node["center"]["y"],
            node["size"]["width"],
            node["size"]["height"],
            lines,
        )
        for box, lines, node in zip(boxes, sizes, found.nodes, strict=True)
    )
    paths = tuple(
        EdgePath(tuple((p["x"], p["y"]) for p in edge["points"]), text, _anchor(edge))
        for edge, text in zip(found.edges, texts, strict=True)
    )
    low, high = found.bounds["min"], found.bounds["max"]
    reach = [(path.at[0], path.width / 2) for path in paths if path.at]  # texts may stand outside
    left = min([low["x"], *(x - half for x, half in reach)])
    right = max([high["x"], *(x + half for x, half in reach)])
    return Drawing(placed, paths, (left, low["y"], right, high["y"]))


def _anchor(edge: dict[str, dict[str, float]]) -> tuple[float, float] | None:
    anchor = edge["label_anchor"]
    return (anchor["x"], anchor["y"]) if anchor else None


def _without_empty_clusters(boxes: list[Box]) -> list[Box]:
    """Only those with something in them, however deep."""
    used: set[int] = set()
    for box in boxes:
        around = box if box.kind != "cluster" else None
        while around is not None and id(around) not in used:
            used.add(id(around))
            around = around.parent
    return [box for box in boxes if id(box) in used]


def _lines(box: Box) -> tuple[str, ...]:
    words = box.words or box.asides
    lines = [line for word in _joined(words) for line in wrap(word, LINE_LETTERS)]
    if len(lines) <= MOST_LINES:
        return tuple(lines)
    return (*lines[: MOST_LINES - 1], f"… of {box.operations} operations")


def _joined(words: list[str]) -> list[str]:
    """As many on a line as there is room for."""
    lines = [""]
    for word in words:
        longer = f"{lines[-1]}, {word}" if lines[-1] else word
        if len(longer) <= LINE_LETTERS or not lines[-1]:
            lines[-1] = longer
        else:
            lines[-1] += ","
            lines.append(word)
    return lines


def _size(lines: tuple[str, ...]) -> tuple[float, float]:
    letters = max(map(len, lines), default=0)
    return letters * LETTER * TEXT_PX + 20, len(lines) * LINE_PX + 12


def _edge_text(types: Counter[str]) -> str:
    parts = [f"{count} × {name}" if count > 1 else name for name, count in types.items()]
    more = len(parts) - MOST_TYPES
    return ", ".join(parts[:MOST_TYPES]) + (f" and {more} more" if more > 0 else "")
