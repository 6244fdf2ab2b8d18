"""Run the soaks one after another on one mount, and say what they found."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from benchmarks import machine
from benchmarks.processes import ROOT
from benchmarks.soak import report
from benchmarks.soak.deaths import engine_deaths
from benchmarks.soak.endurance import many_calls
from benchmarks.soak.figure import Figure
from benchmarks.soak.interrupts import interrupt_cost
from benchmarks.soak.mount import Mount, mounted
from benchmarks.soak.remounts import remounts
from benchmarks.soak.waiters import a_thousand_processes, ten_thousand_threads

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
@click.option("--report", "write", is_flag=True, help="Write docs/SOAK.md and docs/soak.json.")
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
        (ROOT / "docs/SOAK.md").write_text(report.as_markdown(figures, about))
        (ROOT / "docs/soak.json").write_text(report.as_json(figures, about))
    sys.exit(not all(figure.is_met for figure in figures))


if __name__ == "__main__":
    main()
