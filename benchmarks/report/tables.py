"""The results as tables of words; ``output`` shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.clients.samples import Figure, ProcessCost
from benchmarks.peers import EchoC
from benchmarks.plan import MIB, SMALL
from benchmarks.report.targets import Outcome, Ratio, ratios, verdicts
from benchmarks.rounds import Comparison, Spread
from benchmarks.run import Results

Row = tuple[str, ...]
ROUNDS = ("fastest round", "median round", "slowest / fastest")
UNKNOWN = "not available here"


@dataclass(frozen=True)
class Table:
    """Words in rows; ``note`` is a sentence below the title."""

    title: str
    header: Row
    rows: Sequence[Row]
    note: str = ""


def size_words(size_bytes: int) -> str:
    """``64 B``, ``16 MiB``."""
    return f"{size_bytes // MIB} MiB" if size_bytes >= MIB else f"{size_bytes} B"


def seconds_words(seconds: float) -> str:
    """Three digits, in us, ms or s."""
    for limit, unit in ((1e-3, 1e-6), (1.0, 1e-3)):
        if seconds < limit:
            return f"{seconds / unit:.3g} {'us' if unit == 1e-6 else 'ms'}"
    return f"{seconds:.3g} s"


def _spread_words(spread: Spread) -> Row:
    """The columns ``ROUNDS``."""
    return (seconds_words(spread.fastest), seconds_words(spread.median), f"{spread.factor:.2f}")


def _clients_words(count: int, client: str) -> str:
    return f"{count} {client}"


def _targets(results: Results) -> Table:
    found = [
        (verdict.promise, verdict.target, verdict.found, verdict.outcome.value)
        for verdict in verdicts(results)
        if verdict.outcome != Outcome.NOT_MEASURED
    ]
    note = (
        "A target that names a floor names which: a call can be close to the pyfuse3 echo and many"
        " times the C echo, which is the least that any FUSE filesystem takes."
    )
    return Table("Targets", ("what", "target", "this run", ""), found, note)


def _small_calls(results: Results) -> Table:
    small = [figure for figure in results.figures if figure.size_bytes == SMALL]
    floors = {figure.key: figure for figure in small if figure.peer == EchoC.name}
    rows = [_small_row(figure, floors.get(figure.key)) for figure in small]
    header = ("clients", "peer", "calls/s", *ROUNDS, "p99", f"/ {EchoC.name}")
    note = (
        "A paced client sleeps between calls: one call per ms. A round's figure is its median call;"
        f" the last column divides by the {EchoC.name} of the same clients: median rounds, and in"
        " parentheses fastest rounds."
    )
    return Table("Calls of 16 floats", header, rows, note)


def _small_row(figure: Figure, floor: Figure | None) -> Row:
    return (
        _clients_words(figure.clients, figure.client),
        figure.peer,
        f"{figure.calls_per_s:,.3g}",
        *_spread_words(figure.round_s),
        seconds_words(figure.p99_s),
        _over(figure.round_s, floor.round_s) if floor else "",
    )


def _over(ours: Spread, other: Spread) -> str:
    return f"{ours.median / other.median:.2f} ({ours.fastest / other.fastest:.2f})"


def _costs(results: Results) -> Table:
    header = (
        "clients",
        "peer",
        "process",
        "voluntary switches",
        "involuntary switches",
        "wake-ups",
        "CPU time",
        "instructions",
    )
    rows = [_cost_row(figure, cost) for figure in results.figures for cost in figure.costs]
    note = (
        "For one call, median round (least to greatest). A wake-up is a time that a thread was put"
        " on a CPU after it had waited; CPU time is in the kernel and outside; instructions are"
        f" outside the kernel{'' if results.counts_instructions else ', ' + UNKNOWN}."
    )
    return Table("What a call of 16 floats costs each process", header, rows, note)


def _cost_row(figure: Figure, cost: ProcessCost) -> Row:
    counts = (cost.voluntary_switches, cost.involuntary_switches, cost.wakeups)
    cpu = cost.cpu_s
    return (
        _clients_words(figure.clients, figure.client),
        figure.peer,
        cost.process,
        *(f"{n.median:.2f} ({n.fastest:.2f} to {n.slowest:.2f})" for n in counts),
        f"{cpu.median * 1e6:.1f} us ({cpu.fastest * 1e6:.1f} to {cpu.slowest * 1e6:.1f})",
        f"{cost.instructions.median:,.0f}" if cost.instructions else UNKNOWN,
    )


def _large_calls(results: Results) -> Table:
    rows = [
        (
            size_words(figure.size_bytes),
            str(figure.clients),
            figure.peer,
            *_spread_words(figure.round_s),
            f"{figure.bytes_per_s / 1e9:.2f}",
        )
        for figure in results.figures
        if figure.size_bytes != SMALL
    ]
    header = ("each way", "clients", "peer", *ROUNDS, "GB/s")
    return Table("Large calls: as many bytes in as out; GB/s counts both", header, rows)


def _ratios(results: Results) -> Table:
    found = ratios(results.figures)
    peers = [name for name in results.peers if any(ratio.peer == name for ratio in found)]
    keys = dict.fromkeys((ratio.size_bytes, ratio.client, ratio.clients) for ratio in found)
    by_peer = {(r.size_bytes, r.client, r.clients, r.peer): r for r in found}
    rows = [
        (
            size_words(size),
            _clients_words(count, client),
            *(_ratio_words(by_peer.get((size, client, count, name))) for name in peers),
        )
        for size, client, count in keys
    ]
    header = ("each way", "clients", *(f"/ {name}" for name in peers))
    note = "Median rounds, and in parentheses fastest rounds."
    return Table("jaxfs's call divided by the peer's", header, rows, note)


def _ratio_words(ratio: Ratio | None) -> str:
    return f"{ratio.median:.3g} ({ratio.fastest:.3g})" if ratio else ""


def _mount(results: Results) -> Table:
    life = results.lifecycle
    rows: list[Row] = []
    if life is not None:
        stats = life.stats
        rows = [
            ("mount to usable", seconds_words(life.mount_s)),
            ("remount to usable", _rounds_words(life.remount_s)),
            ("first call after it", _rounds_words(life.first_call_s)),
            *(
                (
                    f"front's memory {sample.when}",
                    f"{sample.rss_bytes / MIB:.1f} MiB resident:"
                    f" {sample.anonymous_bytes / MIB:.1f} anonymous,"
                    f" {sample.shared_bytes / MIB:.1f} shared",
                )
                for sample in life.memory
            ),
            (
                f"stat while a compile of {seconds_words(stats.compile_s)} and"
                f" {stats.clients} clients run",
                f"p50 {seconds_words(stats.p50_s)}, p99 {seconds_words(stats.p99_s)},"
                f" longest {seconds_words(stats.max_s)}, of {stats.stats}",
            ),
            ("the clients' calls meanwhile", f"{stats.calls_per_s:,.0f} calls/s"),
        ]
    return Table("The mount", ("what", "this run"), rows)


def _rounds_words(spread: Spread) -> str:
    fastest, slowest = seconds_words(spread.fastest), seconds_words(spread.slowest)
    return f"{seconds_words(spread.median)} ({fastest} to {slowest})"


def _comparisons(title: str, header: Row, found: Sequence[Comparison]) -> Table:
    """``header`` names what is compared, and the two ways."""
    rows = [
        (
            comparison.what,
            _rounds_words(comparison.ours_s),
            _rounds_words(comparison.other_s),
            f"{comparison.ratio:.3f}"
            f" ({comparison.ratios.fastest:.2f} to {comparison.ratios.slowest:.2f})",
        )
        for comparison in found
    ]
    note = "Median round (fastest to slowest); ratios within a round."
    return Table(title, (*header, "ratio"), rows, note)


def _import(results: Results) -> Table:
    rows: list[Row] = []
    if results.imports:
        deep = results.imports.deep
        rows = [
            ("the program", f"{deep.what}: {deep.operations} operations"),
            ("text parsed", _rounds_words(deep.parse_s)),
            ("and traced by JAX", _rounds_words(deep.trace_s)),
            ("JAX's tracing of the original", _rounds_words(deep.trace_original_s)),
        ]
    return Table("An import", ("what", "this run"), rows)


def _start_words(seconds: float) -> str:
    return seconds_words(seconds) if seconds > 1e-3 else "nothing to start"


def _peers(results: Results) -> Table:
    rows = [
        (name, results.peers[name], _start_words(seconds))
        for name, seconds in results.start_s.items()
    ]
    return Table("Peers", ("peer", "what it is", "time to ready"), rows)


def tables(results: Results) -> list[Table]:
    """All tables, in reading order; none that is empty."""
    gradients = results.imports.gradients if results.imports else ()
    arrays = (results.arrays.bound, results.arrays.read) if results.arrays else ()
    candidates = [
        _targets(results),
        _small_calls(results),
        _costs(results),
        _large_calls(results),
        _ratios(results),
        _mount(results),
        _comparisons(
            "Gradients of imported StableHLO, beside JAX's own",
            ("network", "imported", "JAX's own"),
            gradients,
        ),
        _import(results),
        _comparisons(
            "Calls of transformed programs, beside their StableHLO as a plain program",
            ("program", "transformed", "plain"),
            results.transformed,
        ),
        _comparisons("Arrays that stay", ("what", "this", "the other"), arrays),
        _peers(results),
        Table("Failed or left out", ("what",), [(words,) for words in results.failures]),
    ]
    return [table for table in candidates if table.rows]
