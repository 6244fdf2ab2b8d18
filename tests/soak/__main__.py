"""Run the soaks one after another on one mount, and say what they found."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from benchmarks.processes import ROOT
from benchmarks.report import machine
from tests.soak import report
from tests.soak.endurance import many_calls
from tests.soak.interrupts import interrupt_cost
from tests.soak.kills import engine_deaths, remounts
from tests.soak.mount import Mount, mounted
from tests.soak.report import Figure
from tests.soak.waiters import a_thousand_processes, ten_thousand_threads

SOAKS: dict[str, Callable[[Mount], list[Figure]]] = {
    "thousand": a_thousand_processes,
    "ten-thousand": ten_thousand_threads,
    "calls": many_calls,
    "deaths": engine_deaths,
    "remounts": remounts,
    "interrupts": lambda mount: interrupt_cost(),
}


@click.command()
@click.option("--only", multiple=True, type=click.Choice(list(SOAKS)), help="May be repeated.")
@click.option("--report", "write", is_flag=True, help="Write docs/reports/soak.{md,json}.")
def main(only: tuple[str, ...], write: bool) -> None:
    """Let a mount bear what it has to.  Exits 1 where a figure misses what is asked."""
    load = f"{machine.load_per_core():.1f}"
    figures = []
    for name in only or SOAKS:
        click.echo(f"{name} ...", err=True)
        with mounted() as mount:
            figures += SOAKS[name](mount)
    report.show(figures)
    if write:
        about = {**machine.describe(), "load per core before the run": load}
        (ROOT / "docs/reports/soak.md").write_text(report.as_markdown(figures, about))
        (ROOT / "docs/reports/soak.json").write_text(report.as_json(figures, about))
    sys.exit(not all(figure.is_met for figure in figures))


if __name__ == "__main__":
    main()
