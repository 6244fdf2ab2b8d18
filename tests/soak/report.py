"""What a soak finds, as a table for the terminal and docs/reports/soak.md, and as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """``found`` is in ``unit`` and has to be at most ``asked``."""

    what: str
    found: float
    asked: float
    unit: str

    @property
    def is_met(self) -> bool:
        return self.found <= self.asked

    @property
    def words(self) -> tuple[str, str, str, str]:
        """The row."""
        met = "met" if self.is_met else "MISSED"
        return self.what, f"{self.asked:g} {self.unit}", f"{self.found:.3g} {self.unit}", met


HEADER = ("what", "asked, at most", "found", "")


def show(figures: Sequence[Figure]) -> None:
    """On the terminal."""
    table = Table(*HEADER)
    for figure in figures:
        table.add_row(*figure.words)
    Console().print(table)


def as_markdown(figures: Sequence[Figure], machine: Mapping[str, str]) -> str:
    """docs/reports/soak.md."""
    rows = [HEADER, ("---",) * len(HEADER), *(figure.words for figure in figures)]
    words = ", ".join(f"{name} {value}" for name, value in machine.items())
    return (
        "# Soak\n\n"
        "Written by `make soak`; the same figures for programs are in `soak.json`.\n\n"
        f"Machine: {words}.\n\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows)
    )


def as_json(figures: Sequence[Figure], machine: Mapping[str, str]) -> str:
    """All of it, unrounded."""
    rows = [{**dataclasses.asdict(figure), "met": figure.is_met} for figure in figures]
    return json.dumps({"machine": dict(machine), "figures": rows}, indent=1) + "\n"
