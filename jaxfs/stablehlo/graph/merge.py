"""Draws together: what works element by element, and, where there is too much, neighbours.

Both leave a graph without circles: a box joins the only one that uses it, and neighbours are those
that stand one behind the other in an order in which every edge goes forward.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice

import attrs

from jaxfs.stablehlo.graph.model import Box, Graph, Kind

MOST_OF_A_KIND = 40  # inputs, outputs or constants that have boxes of their own
SEVERAL: tuple[Kind, ...] = ("input", "constant", "output")


def fuse(graph: Graph) -> Graph:
    """Chains of operations on elements become one box each."""
    users: dict[Box, set[Box]] = {box: set() for box in graph.boxes}
    for source, target in graph.edges:
        users[source].add(target)
    into: dict[Box, Box] = {}
    for box in reversed(graph.boxes):
        found = {into.get(user, user) for user in users[box]}
        only = found.pop() if len(found) == 1 else None
        if only is not None and _may_join(box, only):
            into[box] = only
            only.words[:0], only.asides[:0] = box.words, box.asides
            only.operations += box.operations
    return _regrouped(graph, lambda box: into.get(box, box))


def _may_join(box: Box, user: Box) -> bool:
    if box.parent is not user.parent or user.kind != "operations":
        return False
    return box.is_aside or (box.joins and user.joins and not user.is_aside)


def gather(graph: Graph, most: int) -> Graph:
    """At most ``most`` boxes, of a graph without clusters.

    Neighbours become one box, and so do inputs, outputs and constants where there are very many;
    an input that only one box uses is told in that box instead.
    """
    kinds = Counter(box.kind for box in graph.boxes)
    many = {kind for kind in SEVERAL if kinds[kind] > MOST_OF_A_KIND}
    told = {box: user for box, user in _only_users(graph) if box.kind in many}
    into: dict[Box, Box] = {}
    for kind in many:
        boxes = [box for box in graph.boxes if box.kind == kind and box not in told]
        if len(boxes) > 1:
            into.update(dict.fromkeys(boxes, Box(kind, [_some(len(boxes), kind)])))
    others = (box for box in graph.boxes if box.kind != "operations" and box not in told)
    drawn = len({into.get(box, box) for box in others})
    for part in _parts([b for b in graph.boxes if b.kind == "operations"], max(1, most - drawn)):
        into.update(dict.fromkeys(part, _together(part)))
    notes = Counter((into[user], box.kind) for box, user in told.items())
    for (user, kind), count in notes.items():
        user.words.append(f"({_some(count, kind)})")
    into.update((box, into[user]) for box, user in told.items())
    return _regrouped(graph, lambda box: into.get(box, box))


def _only_users(graph: Graph) -> Iterator[tuple[Box, Box]]:
    """Boxes that one box of operations uses, and no other."""
    users: dict[Box, set[Box]] = {}
    for source, target in graph.edges:
        users.setdefault(source, set()).add(target)
    for box, found in users.items():
        user = next(iter(found))
        if len(found) == 1 and user.kind == "operations":
            yield box, user


def _some(count: int, kind: str) -> str:
    return f"{count} {kind}" if count == 1 else f"{count} {kind}s"


def _together(boxes: list[Box]) -> Box:
    counts = Counter(word for box in boxes for word in box.words or box.asides)
    words = [f"{word} ×{count}" if count > 1 else word for word, count in counts.items()]
    return Box("operations", words, operations=sum(box.operations for box in boxes))


def _parts(boxes: list[Box], count: int) -> Iterator[list[Box]]:
    length = -(-len(boxes) // count) or 1
    rest = iter(boxes)
    while part := list(islice(rest, length)):
        yield part


def _regrouped(graph: Graph, of: Callable[[Box], Box]) -> Graph:
    """The same with boxes drawn as others, each where the last of it stood."""
    last = {of(box): number for number, box in enumerate(graph.boxes)}
    first = {of(box): -number for number, box in reversed(list(enumerate(graph.boxes)))}
    places = {box: -first[box] if box.kind in ("input", "cluster") else last[box] for box in last}
    found = attrs.evolve(graph, boxes=sorted(places, key=places.__getitem__), edges={})
    for (source, target), values in graph.edges.items():
        if of(source) is not of(target):
            found.connect(of(source), of(target), values)
    return found
