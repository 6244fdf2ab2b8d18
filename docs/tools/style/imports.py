"""The import graph: circles and arrows against the order of layers.

``Arrows`` are imports between modules of the packages. ``from package import module`` imports the
module; ``from package import name`` imports the package's ``__init__.py``. Circles are counted as
groups of modules that reach one another. Those between packages are looked for among the members
of each folder, where a subpackage with all that is below it is one member.
"""

from __future__ import annotations

import ast
import tomllib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from docs.tools.style.measured import Measured, count
from docs.tools.style.names import Names, imported_from
from docs.tools.style.source import ImportTime, SourceFile, imports, is_within

LOADED = frozenset({ImportTime.LOADING})
ALL_TIMES = frozenset(ImportTime)
Graph = dict[str, set[str]]


@dataclass(frozen=True)
class Arrow:
    """A module that imports another one."""

    importer: str
    imported: str
    time: ImportTime
    place: str


@dataclass(frozen=True, eq=False)
class ImportGraph:
    """The imports between the modules that are read, and the layers they must respect."""

    names: Names
    pyproject: Path

    @cached_property
    def arrows(self) -> list[Arrow]:
        """Every import of one module by another."""
        files = self.names.code.files
        return [
            Arrow(file.name, target, time, f"{file.path}:{line}")
            for file in files.values()
            for target, time, line in self._targets(file)
            if target in files and target != file.name
        ]

    def arrows_of(self, package: str, times: Collection[ImportTime]) -> list[Arrow]:
        """Returns the imports inside a package that are executed at one of ``times``."""
        return [
            arrow
            for arrow in self.arrows
            if arrow.time in times
            and is_within(arrow.importer, package)
            and is_within(arrow.imported, package)
        ]

    def _targets(self, file: SourceFile) -> Iterator[tuple[str, ImportTime, int]]:
        files = self.names.code.files
        for statement, time in imports(file.tree):
            for alias in statement.names:
                target = alias.name
                if isinstance(statement, ast.ImportFrom):
                    source = imported_from(statement, file)
                    inner = f"{source}.{alias.name}"
                    target = inner if inner in files else source
                yield target, time, statement.lineno


def module_circles(graph: ImportGraph, package: str, times: Collection[ImportTime]) -> Measured:
    """Returns the circles of modules."""
    arrows = graph.arrows_of(package, times)
    return count(list(_circle_lines((arrow.importer, arrow.imported, arrow) for arrow in arrows)))


def package_circles(graph: ImportGraph, package: str, times: Collection[ImportTime]) -> Measured:
    """Returns the circles among the members of each folder."""
    by_folder = defaultdict(list)
    for arrow in graph.arrows_of(package, times):
        folder, importer, imported = _siblings(arrow)
        if importer and imported:
            by_folder[folder].append((f"{folder}.{importer}", f"{folder}.{imported}", arrow))
    return count([line for edges in by_folder.values() for line in _circle_lines(edges)])


def upward_arrows(graph: ImportGraph, package: str) -> Measured:
    """Returns the imports of a higher layer, or of an independent one in the same layer."""
    orders = [
        order for order in _layer_orders(graph.pyproject) if is_within(order.container, package)
    ]
    found = {
        f"{arrow.place}: {arrow.importer} imports {arrow.imported}"
        for arrow in graph.arrows_of(package, ALL_TIMES)
        for order in orders
        if order.forbids(arrow)
    }
    return count(sorted(found))


def _siblings(arrow: Arrow) -> tuple[str, str, str]:
    """Returns the folder that holds both ends of an arrow, and their names in it."""
    importer, imported = arrow.importer.split("."), arrow.imported.split(".")
    shared = 0
    while importer[shared : shared + 1] == imported[shared : shared + 1]:
        shared += 1
    first, second = (".".join(parts[shared : shared + 1]) for parts in (importer, imported))
    return ".".join(importer[:shared]), first, second


def _circle_lines(edges: Iterable[tuple[str, str, Arrow]]) -> Iterator[str]:
    """Yields one line for each circle, with an import for each of its arrows."""
    examples = {(importer, imported): arrow for importer, imported, arrow in edges}
    graph: Graph = defaultdict(set)
    for importer, imported in examples:
        graph[importer].add(imported)
    for group in circles(graph):
        inside = [arrow for pair, arrow in sorted(examples.items()) if group.issuperset(pair)]
        steps = "; ".join(
            f"{arrow.importer} -> {arrow.imported} ({arrow.place})" for arrow in inside
        )
        yield f"{' <-> '.join(sorted(group))}: {steps}"


def circles(graph: Graph) -> list[frozenset[str]]:
    """Returns the groups of two or more nodes that reach one another, sorted."""
    reached = {node: _reachable(graph, node) for node in graph}
    groups = {
        frozenset(other for other in found if node in reached.get(other, ()))
        for node, found in reached.items()
    }
    return sorted((group for group in groups if len(group) > 1), key=sorted)


def _reachable(graph: Graph, start: str) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for node in graph.get(waiting.pop(), ()):
            if node not in found:
                found.add(node)
                waiting.append(node)
    return found


@dataclass(frozen=True)
class LayerOrder:
    """A contract of import-linter, from the highest layer to the lowest.

    Attributes:
        container: The package with the ordered members.
        levels: The members of each level.
        independent: The levels with members that may not import one another.
    """

    container: str
    levels: tuple[frozenset[str], ...]
    independent: frozenset[int]

    def forbids(self, arrow: Arrow) -> bool:
        """Whether an arrow goes up, or sideways between independent members."""
        importer, imported = self._member(arrow.importer), self._member(arrow.imported)
        if not importer or not imported or importer == imported:
            return False
        above, below = self._level(imported), self._level(importer)
        return above < below or (above == below and above in self.independent)

    def _member(self, module: str) -> str:
        """Returns which ordered member of the container holds a module, or an empty name."""
        inside = module.removeprefix(f"{self.container}.")
        members = (member for level in self.levels for member in level)
        return next((member for member in members if is_within(inside, member)), "")

    def _level(self, member: str) -> int:
        return next(number for number, level in enumerate(self.levels) if member in level)


def _layer_orders(pyproject: Path) -> list[LayerOrder]:
    """Returns an order for each container of each contract of layers."""
    config = tomllib.loads(pyproject.read_text()) if pyproject.exists() else {}
    contracts = config.get("tool", {}).get("importlinter", {}).get("contracts", [])
    return [
        LayerOrder(container, *_levels(contract["layers"]))
        for contract in contracts
        if contract["type"] == "layers"
        for container in contract["containers"]
    ]


def _levels(layers: list[str]) -> tuple[tuple[frozenset[str], ...], frozenset[int]]:
    """Returns levels, and which are independent: ``a | b`` is, ``a : b`` is not."""
    levels = tuple(
        frozenset(name.strip(" ()") for name in layer.replace("|", ":").split(":"))
        for layer in layers
    )
    return levels, frozenset(number for number, layer in enumerate(layers) if "|" in layer)
