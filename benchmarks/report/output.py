"""The report: on the terminal, as docs/reports/bench.md, as JSON."""

from __future__ import annotations

import dataclasses
import json

from rich.console import Console
from rich.table import Table as RichTable

from benchmarks.report.tables import Table, tables
from benchmarks.report.targets import (
    FLOOR_LIMIT_S,
    FLOOR_WORDS,
    floor_of,
    ratios,
    verdicts,
    why_void,
)
from benchmarks.run import Results

BUSY = 0.1
DOUBT = (
    "two processes that wake each other, as the C floor and its client do, hardly notice that, but"
    " jaxfs, with two processes that compute, does."
)


def show(results: Results, console: Console) -> None:
    """On the terminal."""
    console.print(floor_words(results))
    for table in tables(results):
        drawn = RichTable(*table.header, title=table.title, title_justify="left")
        drawn.caption, drawn.caption_justify = table.note, "left"
        for row in table.rows:
            drawn.add_row(*row)
        console.print(drawn)
    console.print(_machine_words(results))


def floor_words(results: Results) -> str:
    """The first sentence of a report: whether the run counts, and by which floor."""
    words, floor = why_void(results), floor_of(results.figures)
    if words is None and floor is not None:
        us, limit_us = floor.round_s.median * 1e6, FLOOR_LIMIT_S * 1e6
        words = f"This run's {FLOOR_WORDS} is {us:.1f} us; it would be void above {limit_us:g} us."
    if results.busy_before > BUSY:
        words = f"{words} Others used {results.busy_before:.0%} of the CPUs before the run: {DOUBT}"
    return words or ""


def _machine_words(results: Results) -> str:
    words = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    load = f"load per core before the run {results.load_per_core_before:.1f}"
    return f"{words}; {load}; the run took {results.run_s:.0f} s"


def as_markdown(results: Results) -> str:
    """docs/reports/bench.md."""
    parts = [
        "# Benchmark",
        "Written by `make bench`; the same figures for programs are in `bench.json`.",
        f"**{floor_words(results)}**",
        "The program is `y = 2 * x + 1` on f32[n], on the CPU. All peers run side by side and take"
        " turns within each row; compare within a run, not between machines.",
        f"Machine: {_machine_words(results)}.",
        *(_markdown_table(table) for table in tables(results)),
    ]
    return "\n\n".join(parts) + "\n"


def _markdown_table(table: Table) -> str:
    rows = [table.header, ("---",) * len(table.header), *table.rows]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    note = f"{table.note}\n\n" if table.note else ""
    return f"## {table.title}\n\n{note}" + "\n".join(lines)


def as_json(results: Results) -> str:
    """All of it; seconds and bytes, unrounded."""
    document = dataclasses.asdict(results)
    document["void"] = why_void(results)
    document["ratios"] = [dataclasses.asdict(ratio) for ratio in ratios(results.figures)]
    document["targets"] = [dataclasses.asdict(verdict) for verdict in verdicts(results)]
    return json.dumps(document, indent=1) + "\n"
