"""What the soaks find, as tables for the terminal and docs/reports/soak.md, and as JSON.

A run of some soaks, or of some attacks, replaces their rows only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from tests.soak.stress import LIMITS, Row, Times


class Figure(msgspec.Struct, frozen=True):
    """One thing that a soak measures.

    Attributes:
        what: A phrase.
        found: The number, in ``unit``.
        asked: The most that it should be.
        unit: Of both numbers.
    """

    what: str
    found: float
    asked: float
    unit: str

    @property
    def is_met(self) -> bool:
        """Whether it is as asked."""
        return self.found <= self.asked

    @property
    def words(self) -> tuple[str, str, str, str]:
        """The row."""
        met = "met" if self.is_met else "MISSED"
        return self.what, f"{self.asked:g} {self.unit}", f"{self.found:.3g} {self.unit}", met


HEADER = ("what", "asked, at most", "found", "")
STRESS_HEADER = (
    "attack",
    "what two users do",
    "stat, ms",
    "ls, ms",
    "compile, s",
    "call, ms",
    "growth, MiB",
    "refused",
    "internal errors",
    "wrong",
    "of the attackers' steps",
    "",
)
TERMINAL = (0, 2, 4, 5, 6, 11)  # columns of it
STRESS_TEXT = """
## Stress

Two users do their worst while a third one, who shares nothing with them, looks at `programs/`,
compiles tiny programs, calls two programs that take some 10 ms (a loop, and a product of matrices)
and reads what it has. The mount has its default options and `allow_other`. Times are p50 / p99 /
longest of the third user's steps; refused are its refusals, growth is that of the front's private
memory. Asked, at most: {limits}.

"""


class Report(msgspec.Struct):
    """All that soaks found.

    Attributes:
        machine: Where the last of them ran.
        figures: By soak.
        stress: The rows of attacks.
    """

    machine: dict[str, str] = msgspec.field(default_factory=dict)
    figures: dict[str, list[Figure]] = msgspec.field(default_factory=dict)
    stress: list[Row] = msgspec.field(default_factory=list)

    @property
    def is_met(self) -> bool:
        """Whether all is as asked."""
        figures = (figure for rows in self.figures.values() for figure in rows)
        return all(figure.is_met for figure in figures) and not any(r.missed for r in self.stress)

    def add(self, row: Row) -> None:
        """Adds a row of the stress, in place of an earlier one of the same attack."""
        names = [old.attack for old in self.stress]
        if row.attack in names:
            self.stress[names.index(row.attack)] = row
        else:
            self.stress.append(row)


def load(path: Path) -> Report:
    """Returns the report of earlier runs; an empty one where there is none."""
    return msgspec.json.decode(path.read_bytes(), type=Report) if path.exists() else Report()


def save(path: Path, report: Report) -> None:
    """Writes soak.json, unrounded, and soak.md beside it."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    path.with_suffix(".md").write_text(as_markdown(report))


def show(report: Report) -> None:
    """On the terminal; of the stress, what fits."""
    _show(HEADER, _figure_rows(report))
    _show(
        [STRESS_HEADER[place] for place in TERMINAL],
        [[_stress_row(row)[place] for place in TERMINAL] for row in report.stress],
    )


def _show(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(*header)
    for row in rows:
        table.add_row(*row)
    if rows:
        Console().print(table)


def as_markdown(report: Report) -> str:
    """docs/reports/soak.md."""
    words = ", ".join(f"{name} {value}" for name, value in report.machine.items())
    text = (
        "# Soak\n\n"
        "Written by `make soak`; the same figures for programs are in `soak.json`.\n\n"
        f"Machine: {words}.\n\n{_markdown(HEADER, _figure_rows(report))}"
    )
    if not report.stress:
        return text
    stress = STRESS_TEXT.format(
        limits=", ".join(f"{name} {limit:g}" for name, (limit, _) in LIMITS.items())
    )
    return text + stress + _markdown(STRESS_HEADER, [_stress_row(row) for row in report.stress])


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in (header, ("---",) * len(header), *rows))


def _figure_rows(report: Report) -> list[tuple[str, str, str, str]]:
    return [figure.words for figures in report.figures.values() for figure in figures]


def _stress_row(row: Row) -> tuple[str, ...]:
    return (
        row.attack,
        f"{row.what}, {row.seconds:g} s",
        _times(row.steps["stat"], 1e3),
        _times(row.steps["ls"], 1e3),
        _times(row.steps["compile"], 1),
        _times(row.steps["call"], 1e3),
        f"{row.growth_mib:.0f}",
        _counts(row.refused) or "0",
        str(row.internal_errors),
        str(row.wrong),
        _counts(row.attackers),
        "MISSED: " + ", ".join(row.missed) if row.missed else "met",
    )


def _times(step: Times, factor: float) -> str:
    seconds = (step.p50_s, step.p99_s, step.longest_s)
    return " / ".join(f"{factor * took_s:.3g}" for took_s in seconds)


def _counts(counts: Mapping[str, int]) -> str:
    pairs = sorted(counts.items(), key=lambda pair: (pair[0] != "succeeded", -pair[1]))
    return ", ".join(f"{name} {count}" for name, count in pairs)
