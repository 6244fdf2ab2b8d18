"""What importing StableHLO costs: gradients through it, and itself.  ``imported`` measures it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.processes import run_module
from benchmarks.rounds import Comparison, Spread

LIMIT_S = 300.0


@dataclass(frozen=True)
class Import:
    """From text to what JAX transforms.

    Attributes:
        what: the program, in words.
        operations: in its module.
        parse_s: seconds from text to module.
        trace_s: seconds from module to jaxpr.
        trace_original_s: seconds of JAX alone, for the function itself.
    """

    what: str
    operations: int
    parse_s: Spread
    trace_s: Spread
    trace_original_s: Spread

    @property
    def seconds(self) -> float:
        """Returns the seconds from text to jaxpr, as a sum of medians."""
        return self.parse_s.median + self.trace_s.median


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
