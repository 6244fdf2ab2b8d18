"""Runs all examinations and prints their findings."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mountctl.display import fixed_width
from mountctl.doctor import accelerators, environment, fuse, limits, python, sandbox
from mountctl.doctor.finding import Examination, Finding

STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}
WIDTH = 120  # columns if the output is not a terminal
EXAMINATIONS: tuple[Examination, ...] = (
    *fuse.EXAMINATIONS,
    *sandbox.EXAMINATIONS,
    *python.EXAMINATIONS,
    *accelerators.EXAMINATIONS,
    *limits.EXAMINATIONS,
    *environment.EXAMINATIONS,
)


def examine() -> list[Finding]:
    """Returns all findings; takes a second or two, as JAX is started once."""
    return [finding for examination in EXAMINATIONS for finding in examination()]


def show(findings: list[Finding], console: Console | None = None) -> None:
    """Prints a line for each finding, with its remedy below, and how many there are of each level.

    Args:
        findings: What ``examine`` returned.
        console: Where to print; standard output by default.
    """
    console = fixed_width(WIDTH, console)
    table = Table.grid(padding=(0, 2, 0, 0))
    for finding in findings:
        style = STYLES[finding.level]
        level = f"[{style}]{finding.level}[/]"
        table.add_row(level, escape(finding.subject), escape(finding.found))
        if finding.remedy:
            table.add_row("", "", f"[{style}]→[/] {escape(finding.remedy)}")
    console.print(table)
    counts = {level: sum(finding.level == level for finding in findings) for level in STYLES}
    console.print("\n" + ", ".join(f"{number} {level}" for level, number in counts.items()))
