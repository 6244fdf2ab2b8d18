"""All examinations, and how their findings are shown."""

from __future__ import annotations

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mountctl.doctor import environment, fuse, limits, python, sandbox
from mountctl.doctor.finding import Examination, Finding

STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}
WIDTH = 120
EXAMINATIONS: tuple[Examination, ...] = (
    *fuse.EXAMINATIONS,
    *sandbox.EXAMINATIONS,
    *python.EXAMINATIONS,
    *limits.EXAMINATIONS,
    *environment.EXAMINATIONS,
)


def examine() -> list[Finding]:
    """Takes a second or two: JAX is started once."""
    return [finding for look in EXAMINATIONS for finding in look()]


def is_sound(findings: list[Finding]) -> bool:
    return all(finding.level != "fail" for finding in findings)


def as_json(findings: list[Finding]) -> str:
    return msgspec.json.format(msgspec.json.encode(findings), indent=2).decode()


def show(findings: list[Finding], console: Console | None = None) -> None:
    """A line each, the remedy below it."""
    console = console or Console()
    if not console.is_terminal:
        console = Console(width=WIDTH, file=console.file)
    table = Table.grid(padding=(0, 2, 0, 0))
    for one in findings:
        style = STYLES[one.level]
        table.add_row(f"[{style}]{one.level}[/]", escape(one.subject), escape(one.found))
        if one.remedy:
            table.add_row("", "", f"[{style}]→[/] {escape(one.remedy)}")
    console.print(table)
    counts = {level: sum(one.level == level for one in findings) for level in STYLES}
    console.print("\n" + ", ".join(f"{number} {level}" for level, number in counts.items()))
