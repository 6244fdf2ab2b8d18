"""Names that two files or two classes share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from docs.tools.style.measured import Measured, count
from docs.tools.style.source import Code, is_within


def repeated_stems(code: Code, package: str, excepted: Iterable[str]) -> Measured:
    """Returns the file stems that occur twice, outside of the ``excepted`` packages."""
    excepted = tuple(excepted)
    return _repeated(
        (file.path.stem, str(file.path))
        for file in code.files_of(package)
        if not file.is_package and not any(is_within(file.name, one) for one in excepted)
    )


def repeated_classes(code: Code, package: str) -> Measured:
    """Returns the names of classes that occur twice."""
    return _repeated(
        (found.node.name, f"{found.file.path}:{found.node.lineno}")
        for found in code.classes_of(package)
    )


def _repeated(named: Iterable[tuple[str, str]]) -> Measured:
    places = defaultdict(list)
    for name, place in named:
        places[name].append(place)
    repeated = sorted(name for name, found in places.items() if len(found) > 1)
    return count([f"{name}: {', '.join(places[name])}" for name in repeated])
