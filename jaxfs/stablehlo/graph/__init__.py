"""A module as a picture of its data flow, in SVG.

``build`` walks the module and makes a graph, ``merge`` fuses and coarsens it, ``layout`` assigns
positions and ``svg`` writes.  Large programs are drawn in less detail, with a note in the picture.
"""

from __future__ import annotations

import contextlib
from typing import Any

from jaxfs.stablehlo.graph.build import Expansion, TooManyNodes, build
from jaxfs.stablehlo.graph.layout import lay_out
from jaxfs.stablehlo.graph.merge import coarsen, fuse
from jaxfs.stablehlo.graph.model import Graph
from jaxfs.stablehlo.graph.svg import render
from jaxfs.types.signature import Signature

__all__ = ["draw"]

MAX_NODES = 150  # more cannot be followed by eye
MAX_EDGES = 400  # more are not laid out in a few seconds
_EXPANSIONS = (  # with a note for the picture; the first one that gives few enough nodes is used
    (Expansion(), ""),
    (Expansion(calls=False), "Functions that are called are one box each."),
    (Expansion(calls=False, regions=False), "Functions, loops and branches are one box each."),
)
_COARSENED = "Operations that follow one another are drawn together."


def draw(module: Any, signature: Signature) -> bytes:
    """Returns the picture of a program.

    Args:
        module: The program, after ``check_module``: its functions are not recursive.
        signature: The names of its inputs and outputs.

    Returns:
        SVG, in UTF-8.

    Raises:
        NotSupported: The graph cannot be laid out.
    """
    for expansion, note in _EXPANSIONS:
        with contextlib.suppress(TooManyNodes):
            graph = fuse(build(module, signature, expansion, MAX_NODES))
            if _is_legible(graph):
                return render(graph, lay_out(graph), note)
    expansion, note = _EXPANSIONS[-1]
    graph = _coarsened(fuse(build(module, signature, expansion, MAX_NODES)))
    return render(graph, lay_out(graph), f"{note} {_COARSENED}")


def _is_legible(graph: Graph) -> bool:
    return len(graph.leaves) <= MAX_NODES and len(graph.edges) <= MAX_EDGES


def _coarsened(whole: Graph) -> Graph:
    """Returns the graph with as many nodes as are legible; fewer where many edges cross."""
    max_nodes = MAX_NODES
    graph = coarsen(whole, max_nodes)
    while not _is_legible(graph) and max_nodes > 1:
        max_nodes //= 2
        graph = coarsen(whole, max_nodes)
    return graph
