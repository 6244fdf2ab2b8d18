"""docs/reports/gpu.{md,json}, from the gpu.jsonl of a run.

``python -m benchmarks.gpu.report gpu-out/gpu.jsonl`` takes over the outcomes of a run on a card;
without an argument it writes the pages anew from gpu.json.  A run of some parts replaces their
rows only.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from benchmarks.gpu.outcomes import Line, Outcome, Run, Value, decode, words
from benchmarks.gpu.plan import CHECKS, Check
from benchmarks.processes import ROOT

PATH = ROOT / "docs/reports/gpu.json"
HEADER = ("", "what", "target", "found", "")
CELL_CHARACTERS = 240
ABOUT_CARD = (
    "device_kind",
    "driver_version",
    "platform_version",
    "jax",
    "jaxlib",
    "python",
    "glibc",
)
TEXT = """# GPU

Written by `make gpu`; the same figures for programs are in `gpu.json`. Ratios are those to plain
JAX (jitted, donated state, the same types) on the same card in the same run.

{card}

"""
NO_CARD = (
    "**No card has given figures yet.** `make gpu-try` runs the checks on a CPU with small arrays,"
    " to try the checks themselves."
)


class Report(msgspec.Struct):
    """What cards have given.

    Attributes:
        card: The card and the software of the last run, by name.
        outcomes: By check.
    """

    card: dict[str, Value] = msgspec.field(default_factory=dict)
    outcomes: dict[str, Outcome] = msgspec.field(default_factory=dict)


def read(path: Path) -> list[Line]:
    """Returns the lines of gpu.jsonl, without a last one that was cut."""
    return [decode(row) for row in path.read_bytes().split(b"\n")[:-1]]


def merged(report: Report, lines: list[Line]) -> Report:
    """Returns a report with the outcomes of a run in place of its own.

    Raises:
        ValueError: The run was none on a card.
    """
    run = next((line for line in lines if isinstance(line, Run)), None)
    if run is None or run.platform == "cpu" or run.small:
        raise ValueError("these figures are not those of a card: run `make gpu` on one")
    found = {line.check: line for line in lines if isinstance(line, Outcome)}
    card = report.card
    if "A0" in found and found["A0"].has_run:
        card = {name: found["A0"].figures.get(name) for name in ABOUT_CARD}
    if not card:
        raise ValueError("no card was found: look at check A0, or run part A too")
    # what a run had no time for does not replace what an earlier one has found
    skipped = {name for name, outcome in found.items() if outcome.verdict == "skipped"}
    kept = {name: report.outcomes[name] for name in skipped if name in report.outcomes}
    return Report(card, {**report.outcomes, **found, **kept})


def update(lines: list[Line], path: Path = PATH) -> None:
    """Writes gpu.json with the outcomes of a run added, and gpu.md beside it."""
    report = load(path)
    save(merged(report, lines) if lines else report, path)


def load(path: Path = PATH) -> Report:
    """Returns the report of earlier runs; an empty one where there is none."""
    return msgspec.json.decode(path.read_bytes(), type=Report) if path.exists() else Report()


def save(report: Report, path: Path = PATH) -> None:
    """Writes gpu.json, unrounded, and gpu.md beside it."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    path.with_suffix(".md").write_text(as_markdown(report))


def as_markdown(report: Report) -> str:
    """docs/reports/gpu.md: a row for each check, those included that no card has run."""
    card = ", ".join(f"{name} {value}" for name, value in report.card.items() if value)
    rows = [HEADER, ("---",) * len(HEADER)]
    rows += [_row(check, report.outcomes.get(check.name)) for check in CHECKS]
    table = "".join(f"| {' | '.join(map(_cell, row))} |\n" for row in rows)
    return TEXT.format(card=f"Card: {card}." if card else NO_CARD) + table


def _row(check: Check, outcome: Outcome | None) -> tuple[str, ...]:
    if outcome is None:
        return check.name, check.what, check.target, "not run", ""
    found = " ".join(filter(None, (outcome.reason, words(outcome.figures))))
    return check.name, check.what, check.target, found, outcome.verdict


def _cell(text: str) -> str:
    plain = text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
    return plain if len(plain) <= CELL_CHARACTERS else f"{plain[:CELL_CHARACTERS]} ..."


if __name__ == "__main__":
    update(read(Path(sys.argv[1])) if len(sys.argv) > 1 else [])
