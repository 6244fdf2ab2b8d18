"""What is drawn: boxes, clusters that hold boxes, and edges between boxes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs

Kind = Literal["input", "output", "constant", "operations", "turn", "cluster"]


@attrs.define(eq=False)
class Box:
    """``words`` are what it does, in order; ``asides`` what only changes shapes or types.

    ``joins`` says that it works on each element by itself, and so may share a box with its like.
    ``parent`` is the cluster it stands in.
    """

    kind: Kind
    words: list[str]
    parent: Box | None = None
    joins: bool = False
    asides: list[str] = attrs.field(factory=list)
    operations: int = 1

    @property
    def is_aside(self) -> bool:
        """Whether it does nothing but change a shape or a type."""
        return self.kind == "operations" and not self.words


@attrs.define
class Graph:
    """Boxes in program order, so that every edge goes forward; clusters before what they hold.

    ``edges`` hold the values that go from one box to another, each with its type.
    """

    name: str
    operations: int = 0
    boxes: list[Box] = attrs.field(factory=list)
    edges: dict[tuple[Box, Box], dict[object, str]] = attrs.field(factory=dict)

    def add(self, box: Box) -> Box:
        self.boxes.append(box)
        return box

    def connect(self, source: Box, target: Box, values: Mapping[object, str]) -> None:
        """These values go this way too."""
        self.edges.setdefault((source, target), {}).update(values)

    @property
    def leaves(self) -> list[Box]:
        """The boxes that hold no others."""
        return [box for box in self.boxes if box.kind != "cluster"]
