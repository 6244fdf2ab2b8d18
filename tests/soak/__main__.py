"""Run the soaks one after another, each on a mount of its own, and say what they found."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from benchmarks.processes import ROOT
from benchmarks.report import machine
from tests.soak.attacks import ALL
from tests.soak.endurance import many_calls
from tests.soak.exits import calls_of_processes_that_exit
from tests.soak.interrupts import interrupt_cost
from tests.soak.kills import engine_deaths, remounts
from tests.soak.mount import Mount, mounted
from tests.soak.report import Figure, Report, load, save, show
from tests.soak.stress import NOTHING, TOGETHER, stress
from tests.soak.waiters import a_thousand_processes, ten_thousand_threads

SOAKS: dict[str, Callable[[Mount], list[Figure]]] = {
    "thousand": a_thousand_processes,
    "ten-thousand": ten_thousand_threads,
    "calls": many_calls,
    "deaths": engine_deaths,
    "remounts": remounts,
    "exits": calls_of_processes_that_exit,
    "interrupts": lambda mount: interrupt_cost(),
}
STRESS = "stress"
ATTACKS = (NOTHING, *ALL, TOGETHER)
REPORT = ROOT / "docs/reports/soak.json"


@click.command()
@click.option("--only", multiple=True, type=click.Choice([*SOAKS, STRESS]), help="May be repeated.")
@click.option(
    "--attack", multiple=True, type=click.Choice(ATTACKS), help="Of the stress; may be repeated."
)
@click.option(
    "--seconds", default=60.0, show_default=True, help="How long all attacks together go on."
)
@click.option("--alone-seconds", type=float, help="The same for each attack; default --seconds.")
@click.option("--report", "write", is_flag=True, help="Write docs/reports/soak.{md,json}.")
def main(
    only: tuple[str, ...],
    attack: tuple[str, ...],
    seconds: float,
    alone_seconds: float | None,
    write: bool,
) -> None:
    """Let a mount bear what it has to.  Exits 1 where a figure misses what is asked."""
    found, kept = Report(), load(REPORT)
    kept.machine = {
        **machine.describe(),
        "load per core before the run": f"{machine.load_per_core():.1f}",
    }
    for name in only or (*SOAKS, STRESS):
        click.echo(f"{name} ...", err=True)
        if name == STRESS:
            for row in stress(attack, seconds, alone_seconds or seconds):
                click.echo(f"  {row.attack}: {', '.join(row.missed) or 'met'}", err=True)
                found.add(row)
                kept.add(row)
                if write:  # after each: a run of all of them takes long
                    save(REPORT, kept)
        else:
            with mounted() as mount:
                found.figures[name] = kept.figures[name] = SOAKS[name](mount)
    show(found)
    if write:
        save(REPORT, kept)
    sys.exit(not found.is_met)


if __name__ == "__main__":
    main()
