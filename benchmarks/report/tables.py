"""The results as tables, for the terminal and for docs/reports/bench.md, and as JSON."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table as RichTable

from benchmarks.clients.samples import Figure
from benchmarks.peers import PEERS
from benchmarks.plan import MIB, SMALL
from benchmarks.report.targets import Ratio, ratios, verdicts
from benchmarks.rounds import Comparison
from benchmarks.run import Results
from benchmarks.workloads.imports import Imports

MET = {True: "met", False: "MISSED", None: "-"}


@dataclass(frozen=True)
class Table:
    """Words in rows; where they are shown is not its concern."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def size_words(size_bytes: int) -> str:
    """``64 B``, ``16 MiB``."""
    return f"{size_bytes // MIB} MiB" if size_bytes >= MIB else f"{size_bytes} B"


def seconds_words(seconds: float) -> str:
    """Three digits, in us, ms or s."""
    for limit, unit in ((1e-3, 1e-6), (1.0, 1e-3)):
        if seconds < limit:
            return f"{seconds / unit:.3g} {'us' if unit == 1e-6 else 'ms'}"
    return f"{seconds:.3g} s"


def _small_row(f: Figure) -> tuple[str, ...]:
    latencies = (seconds_words(f.p50_s), seconds_words(f.p99_s))
    return (str(f.clients), f.peer, f"{f.calls_per_s:,.3g}", *latencies)


def _large_row(f: Figure) -> tuple[str, ...]:
    rate = f"{f.bytes_per_s / 1e9:.2f}"
    return (size_words(f.size_bytes), str(f.clients), f.peer, seconds_words(f.p50_s), rate)


def _ratio_rows(found: list[Ratio]) -> list[tuple[str, ...]]:
    peers = [peer for peer in PEERS if any(ratio.peer == peer for ratio in found)]
    cells = list(dict.fromkeys((ratio.size_bytes, ratio.clients) for ratio in found))
    by_key = {(ratio.size_bytes, ratio.clients, ratio.peer): ratio for ratio in found}
    return [
        (size_words(cell[0]), str(cell[1]), *(_ratio_words(by_key.get((*cell, p))) for p in peers))
        for cell in cells
    ]


def _ratio_words(ratio: Ratio | None) -> str:
    return f"{ratio.median:.3g}" if ratio else ""


def _mount_rows(results: Results) -> list[tuple[str, ...]]:
    life = results.lifecycle
    if life is None:
        return []
    stats = life.stats
    memory = [
        (
            f"front's memory {sample.when}",
            f"{sample.rss_bytes / MIB:.1f} MiB resident: {sample.anonymous_bytes / MIB:.1f}"
            f" anonymous, {sample.shared_bytes / MIB:.1f} shared",
        )
        for sample in life.memory
    ]
    return [
        ("mount to usable", seconds_words(life.mount_s)),
        ("remount to usable", seconds_words(life.remount_s)),
        ("first call after it", seconds_words(life.first_call_s)),
        *memory,
        (
            f"stat while a compile of {seconds_words(stats.compile_s)} and"
            f" {stats.clients} clients run",
            f"p50 {seconds_words(stats.p50_s)}, p99 {seconds_words(stats.p99_s)},"
            f" longest {seconds_words(stats.max_s)}, of {stats.stats}",
        ),
        ("the clients' calls meanwhile", f"{stats.calls_per_s:,.0f} calls/s"),
    ]


def _comparison_row(found: Comparison) -> tuple[str, ...]:
    least, greatest = min(found.round_ratios), max(found.round_ratios)
    return (
        found.what,
        seconds_words(found.ours_s),
        seconds_words(found.other_s),
        f"{found.ratio:.3f} ({least:.2f} to {greatest:.2f})",
    )


def _import_rows(found: Imports | None) -> list[tuple[str, ...]]:
    if found is None:
        return []
    deep = found.deep
    return [
        ("the program", f"{deep.what}: {deep.operations} operations"),
        ("text parsed", seconds_words(deep.parse_s)),
        ("and traced by JAX", seconds_words(deep.trace_s)),
        ("JAX's tracing of the original", seconds_words(deep.trace_original_s)),
    ]


def _start_words(seconds: float) -> str:
    return seconds_words(seconds) if seconds > 1e-3 else "nothing to start"


def tables(results: Results) -> list[Table]:
    """All tables, in reading order; none that is empty."""
    small = [f for f in results.figures if f.size_bytes == SMALL]
    large = [f for f in results.figures if f.size_bytes != SMALL]
    found = ratios(results.figures)
    others = tuple(f"/ {p}" for p in PEERS if any(ratio.peer == p for ratio in found))
    told = [(v.promise, v.target, v.found, MET[v.met]) for v in verdicts(results)]
    started = [(n, PEERS[n].what, _start_words(s)) for n, s in results.start_s.items()]
    candidates = [
        Table("Targets", ("what", "target", "this run", ""), tuple(told)),
        Table(
            "Calls of 16 floats",
            ("clients", "peer", "calls/s", "p50", "p99"),
            tuple(map(_small_row, small)),
        ),
        Table(
            "Large calls: as many bytes in as out; GB/s counts both",
            ("each way", "clients", "peer", "median call", "GB/s"),
            tuple(map(_large_row, large)),
        ),
        Table(
            "jaxfs's median call divided by the peer's",
            ("each way", "clients", *others),
            tuple(_ratio_rows(found)),
        ),
        Table("The mount", ("what", "this run"), tuple(_mount_rows(results))),
        Table(
            "Gradients of imported StableHLO, beside JAX's own",
            ("network", "imported", "JAX's own", "ratio (rounds)"),
            tuple(map(_comparison_row, results.imports.gradients if results.imports else ())),
        ),
        Table("An import", ("what", "this run"), tuple(_import_rows(results.imports))),
        Table(
            "Calls of transformed programs, beside their StableHLO as a plain program",
            ("program", "transformed", "plain", "ratio (rounds)"),
            tuple(map(_comparison_row, results.transformed)),
        ),
        Table(
            "Arrays that stay",
            ("what", "this", "the other", "ratio (rounds)"),
            tuple(map(_comparison_row, (results.arrays.bound, results.arrays.read)))
            if results.arrays
            else (),
        ),
        Table("Peers", ("peer", "what it is", "time to ready"), tuple(started)),
        Table("Failed or left out", ("what",), tuple((words,) for words in results.failures)),
    ]
    return [table for table in candidates if table.rows]


def show(results: Results, console: Console) -> None:
    """On the terminal."""
    for table in tables(results):
        drawn = RichTable(*table.header, title=table.title, title_justify="left")
        for row in table.rows:
            drawn.add_row(*row)
        console.print(drawn)
    console.print(_machine_words(results))


def _machine_words(results: Results) -> str:
    words = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    load = f"load per core before the run {results.load_per_core_before:.1f}"
    return f"{words}; {load}; the run took {results.run_s:.0f} s"


def as_markdown(results: Results) -> str:
    """docs/reports/bench.md."""
    parts = [
        "# Benchmark",
        "Written by `make bench`; the same figures for programs are in `bench.json`.",
        "The program is `y = 2 * x + 1` on f32[n], on the CPU. All peers run side by side and take"
        " turns within each row; compare within a run, not between machines.",
        f"Machine: {_machine_words(results)}.",
        *(_markdown_table(table) for table in tables(results)),
    ]
    return "\n\n".join(parts) + "\n"


def _markdown_table(table: Table) -> str:
    rows = [table.header, ("---",) * len(table.header), *table.rows]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return f"## {table.title}\n\n" + "\n".join(lines)


def as_json(results: Results) -> str:
    """All of it; seconds and bytes, unrounded."""
    document = dataclasses.asdict(results)
    document["ratios"] = [dataclasses.asdict(ratio) for ratio in ratios(results.figures)]
    document["targets"] = [dataclasses.asdict(verdict) for verdict in verdicts(results)]
    return json.dumps(document, indent=1) + "\n"
