"""What importing StableHLO costs: gradients through it, and itself.  ``imported`` measures it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.processes import run_module
from benchmarks.rounds import Comparison

LIMIT_S = 300.0


@dataclass(frozen=True)
class Import:
    """From text to what JAX transforms: medians in seconds."""

    what: str
    operations: int
    parse_s: float
    trace_s: float
    trace_original_s: float  # of the function itself, by JAX alone

    @property
    def seconds(self) -> float:
        return self.parse_s + self.trace_s


@dataclass(frozen=True)
class Imports:
    """What a run found."""

    gradients: tuple[Comparison, ...]
    deep: Import


def measure(workdir: Path, rounds: int) -> Imports:
    """In a process of its own.  Raises CalledProcessError, TimeoutExpired."""
    file = workdir / "imports.json"
    run_module("benchmarks.workloads.imported", str(file), str(rounds), timeout_s=LIMIT_S)
    return msgspec.json.decode(file.read_bytes(), type=Imports)
