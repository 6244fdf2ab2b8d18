"""Meshes of devices and shardings of arrays, as transformation paths spell them; without jax.

``x4`` is a mesh of four devices in a row, ``x2y2`` one of two rows.  ``x.y`` shards an array's
first dimension over the axis x and its second over y; ``x+y`` shards one over both, ``_`` none.
They become ``jax.sharding.AbstractMesh`` and ``jax.sharding.PartitionSpec``.
"""

from __future__ import annotations

import math
import re

import attrs

MAX_DEVICES = 9999  # also of a module, and of -o devices=
_AXIS = re.compile(r"([A-Za-z_]+)([1-9]\d{0,3})")
_MESH = re.compile(rf"(?:{_AXIS.pattern})+\Z")
_NAME = re.compile(r"[A-Za-z_]+\Z")


@attrs.frozen
class Mesh:
    """A mesh of devices.

    Attributes:
        axes: The name and the size of each axis.
    """

    axes: tuple[tuple[str, int], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the axes."""
        return tuple(name for name, _ in self.axes)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes of the axes."""
        return tuple(size for _, size in self.axes)

    def count(self, names: tuple[str, ...]) -> int:
        """Returns the number of devices that a dimension sharded over these axes is on."""
        return math.prod(dict(self.axes)[name] for name in names)

    def __str__(self) -> str:
        return "".join(f"{name}{size}" for name, size in self.axes)


@attrs.frozen
class ShardingSpec:
    """How one array is sharded over a mesh.

    Attributes:
        dimensions: For each dimension, from the first on, the axes of the mesh it is sharded over.
    """

    dimensions: tuple[tuple[str, ...], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The axes of all dimensions."""
        return tuple(name for names in self.dimensions for name in names)

    def __str__(self) -> str:
        return ".".join("+".join(names) or "_" for names in self.dimensions)


def parse_mesh(text: str) -> Mesh:
    """Returns the mesh that ``text`` spells.

    >>> parse_mesh("x2y4").sizes
    (2, 4)

    Raises:
        ValueError: It spells none; the message is a phrase for what is expected.
    """
    found = [(match[1], int(match[2])) for match in _AXIS.finditer(text)]
    names = [name for name, _ in found]
    if not _MESH.match(text) or len(set(names)) < len(names):
        raise ValueError("axes with their sizes, each name once, as x4 or x2y2")
    if math.prod(size for _, size in found) > MAX_DEVICES:
        raise ValueError(f"a mesh of at most {MAX_DEVICES} devices")
    return Mesh(tuple(found))


def parse_shardings(text: str) -> tuple[ShardingSpec | None, ...]:
    """Returns the sharding of each array; None if the compiler chooses.

    >>> parse_shardings("x._,_")
    (ShardingSpec(dimensions=(('x',), ())), None)

    Raises:
        ValueError: As ``parse_mesh``.
    """
    return tuple(None if word == "_" else _parse_sharding(word) for word in text.split(","))


def _parse_sharding(word: str) -> ShardingSpec:
    dimensions = tuple(() if names == "_" else tuple(names.split("+")) for names in word.split("."))
    found = ShardingSpec(dimensions)
    if not all(map(_NAME.match, found.names)) or "_" in found.names:
        raise ValueError(
            "for each array, with commas between, the axes of each dimension with dots between, "
            "as x,_ or x.y or _.x+y"
        )
    if len(set(found.names)) < len(found.names):
        raise ValueError("each axis once an array")
    return found
