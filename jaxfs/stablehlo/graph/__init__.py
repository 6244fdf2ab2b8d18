"""A module as a picture: what it computes from what, as SVG.

``build`` walks the module, ``fuse`` draws together what belongs together, ``layout`` finds places
and ``svg`` writes.  For what is too large, less is shown, and the picture says so.
"""

from __future__ import annotations

import contextlib
from typing import Any

from jaxfs.stablehlo.graph.build import Detail, TooMany, build
from jaxfs.stablehlo.graph.layout import place
from jaxfs.stablehlo.graph.merge import fuse, gather
from jaxfs.stablehlo.graph.model import Graph
from jaxfs.stablehlo.graph.svg import render
from jaxfs.types.signature import Signature

__all__ = ["draw"]

MOST_BOXES = 150  # more cannot be followed by eye
MOST_EDGES = 400  # nor laid out in a few seconds
_DETAILS = (  # the first one that gives few enough boxes
    (Detail(), ""),
    (Detail(calls=False), "Functions that are called are one box each."),
    (Detail(calls=False, regions=False), "Functions, loops and branches are one box each."),
)
_GATHERED = "Operations that follow one another are drawn together."


def draw(module: Any, signature: Signature) -> bytes:
    """The picture, UTF-8.  ``module`` is checked: its functions do not call themselves.

    ``signature`` names its inputs and outputs.  Raises NotSupported for what cannot be laid out.
    """
    for detail, note in _DETAILS:
        with contextlib.suppress(TooMany):
            graph = fuse(build(module, signature, detail, MOST_BOXES))
            if _is_legible(graph):
                return render(graph, place(graph), note)
    detail, note = _DETAILS[-1]
    graph = _gathered(fuse(build(module, signature, detail, MOST_BOXES)))
    return render(graph, place(graph), f"{note} {_GATHERED}")


def _is_legible(graph: Graph) -> bool:
    return len(graph.leaves) <= MOST_BOXES and len(graph.edges) <= MOST_EDGES


def _gathered(whole: Graph) -> Graph:
    """In as many boxes as can be followed; a tangle needs fewer."""
    most = MOST_BOXES
    graph = gather(whole, most)
    while not _is_legible(graph) and most > 1:
        most //= 2
        graph = gather(whole, most)
    return graph
