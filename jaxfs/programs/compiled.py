"""One compiled form of a program: everything that is true of it and never changes."""

from __future__ import annotations

from pathlib import Path

import attrs

from jaxfs.engine.interface import Executable
from jaxfs.programs.memory_need import MemoryNeed
from jaxfs.types.signature import Signature

GRAPH_NAME = "graph-1.svg"  # another number when pictures change: they are kept


@attrs.frozen
class CompiledProgram:
    """What a source became.  Calls hold the version they began with.

    ``cost`` and ``memory`` are the compiler's figures, empty where it told none.
    """

    sha256: str
    source_format: str
    platforms: tuple[str, ...]
    signature: Signature
    devices: tuple[str, ...]  # their names; all at once
    executable: Executable
    compile_usec: int
    cost: dict[str, float]
    memory: dict[str, int]
    stablehlo_path: Path
    hlo_path: Path
    need: MemoryNeed = attrs.field(init=False)
    is_small: bool = attrs.field(init=False)  # worked out here, once: asked before each run

    @property
    def device(self) -> str:
        """The names of its devices, in a line."""
        return " ".join(self.devices)

    @property
    def graph_path(self) -> Path:
        """The picture; there once somebody asked for it."""
        return self.stablehlo_path.with_name(GRAPH_NAME)

    @need.default
    def _need(self) -> MemoryNeed:
        return MemoryNeed.of(self.executable, self.memory)

    @is_small.default
    def _is_small(self) -> bool:
        return self.need.is_small
