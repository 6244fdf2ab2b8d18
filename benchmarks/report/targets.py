"""What jaxfs promises, and whether this run shows it.

A run on a machine that is busy shows nothing: the C floor, which computes nothing, shows how quiet
the machine was.  Where its median round is above ``FLOOR_LIMIT_S``, every verdict is void.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from benchmarks.clients.samples import Figure
from benchmarks.peers import FLOORS, Baseline, EchoC, EchoPyfuse3, FastApi, Grpc, Jaxfs
from benchmarks.plan import MIB, SMALL, Client
from benchmarks.rounds import Comparison
from benchmarks.run import Results
from benchmarks.workloads.arrays import Arrays
from benchmarks.workloads.imports import Import
from benchmarks.workloads.lifecycle import Lifecycle

FLOOR_LIMIT_S = 15e-6
FLOOR_WORDS = "C floor (16 floats, one C client, median of rounds)"
LONG_COMPILE_S = 3.0  # a shorter one proves nothing about answering meanwhile
AS_FAST = 1.1  # times the other's time
NOT_SLOWER = 1.05  # times the time of the checkout before; less is within the noise of two runs
IMPORT_S = 30e-3
BOUND = 1.2  # times a call on small weights
STEP_S = 500e-6
DIFFERENCE = 1e-5
READ = 2.0  # times tmpfs's time


class Outcome(StrEnum):
    """What a run shows of a target."""

    MET = "met"
    MISSED = "MISSED"
    VOID = "void"  # the machine was busy
    NOT_MEASURED = "-"


def outcome(is_met: bool) -> Outcome:
    """Of a target that was measured."""
    return Outcome.MET if is_met else Outcome.MISSED


@dataclass(frozen=True)
class Verdict:
    """A promise, its target in words, what was found, and what that shows."""

    promise: str
    target: str
    found: str
    outcome: Outcome


@dataclass(frozen=True)
class Ratio:
    """jaxfs's time over a peer's, in one row.

    Attributes:
        peer, size_bytes, clients, client: the row.
        fastest: of the fastest rounds of both.
        median: of the median rounds of both.
        least, greatest: within one round.
    """

    peer: str
    size_bytes: int
    clients: int
    client: str
    fastest: float
    median: float
    least: float
    greatest: float

    @property
    def words(self) -> str:
        """The ratio with what the rounds make of it."""
        rounds = f"rounds {self.least:.2f} to {self.greatest:.2f}"
        return f"{self.median:.2f} x (fastest {self.fastest:.2f}, {rounds})"


def ratios(figures: list[Figure]) -> list[Ratio]:
    """Returns the ratios of jaxfs to every other peer, for the rows that both took."""
    ours = {figure.key: figure for figure in figures if figure.peer == Jaxfs.name}
    others = [figure for figure in figures if figure.peer != Jaxfs.name]
    return [_ratio(ours[other.key], other) for other in others if other.key in ours]


def _ratio(ours: Figure, other: Figure) -> Ratio:
    rounds = [a / b for a, b in zip(ours.round_p50_s, other.round_p50_s, strict=True)]
    return Ratio(
        other.peer,
        other.size_bytes,
        other.clients,
        other.client,
        ours.round_s.fastest / other.round_s.fastest,
        ours.round_s.median / other.round_s.median,
        min(rounds),
        max(rounds),
    )


def floor_of(figures: list[Figure]) -> Figure | None:
    """The C floor that decides whether the run counts."""
    wanted = (SMALL, 1, Client.C)
    return next((f for f in figures if f.peer == EchoC.name and f.key == wanted), None)


def why_void(results: Results) -> str | None:
    """Why the run shows nothing about targets; None where it does."""
    floor = floor_of(results.figures)
    if floor is None:
        return f"This run is void for targets: it has no {FLOOR_WORDS}."
    found_us, limit_us = floor.round_s.median * 1e6, FLOOR_LIMIT_S * 1e6
    if floor.round_s.median > FLOOR_LIMIT_S:
        return (
            f"This run is void for targets: its {FLOOR_WORDS} is {found_us:.1f} us, above"
            f" {limit_us:g} us. The machine was busy, or is too slow for them."
        )
    return None


def verdicts(results: Results) -> list[Verdict]:
    """One for each promise; those that were measured are void where the run is."""
    found = list(_verdicts(results))
    if why_void(results) is None:
        return found
    unknown = Outcome.NOT_MEASURED
    return [v if v.outcome == unknown else replace(v, outcome=Outcome.VOID) for v in found]


def _verdicts(results: Results) -> Iterator[Verdict]:
    one_client = [ratio for ratio in ratios(results.figures) if ratio.clients == 1]
    yield from _of_ratios(one_client)
    yield from _of_baseline(one_client)
    yield from (_of_limit(*row, results.lifecycle) for row in _LIMITS)
    if results.imports:
        for network in results.imports.gradients:
            yield _as_fast(f"gradient {network.what.partition(':')[0]}", "JAX's own", network)
        yield _quick_import(results.imports.deep)
    for program in results.transformed:
        yield _as_fast(f"call of {program.what}", "a plain program's", program)
    if results.arrays:
        yield from _of_arrays(results.arrays)
    yield _no_jaxlib(results.lifecycle)
    yield _long_enough(results.lifecycle)


# (promise, client, message bytes, peer, limit): one client's median round against the peer's
_RATIOS = (
    ("call of 16 floats", Client.C, SMALL, EchoC.name, 2.0),
    # published as "2 x floor" when this was the only floor
    ("call of 16 floats", Client.PYTHON, SMALL, EchoPyfuse3.name, 2.0),
    ("call of 16 floats", Client.PYTHON, SMALL, FastApi.name, 0.5),
    ("call of 16 floats", Client.PYTHON, SMALL, Grpc.name, 0.25),
    ("64 MiB in and out", Client.PYTHON, 64 * MIB, FastApi.name, 0.5),
)


def _of_ratios(found: list[Ratio]) -> Iterator[Verdict]:
    by_key = {(r.peer, r.size_bytes, r.client): r for r in found}
    for what, client, size_bytes, peer, limit in _RATIOS:
        promise = f"{what}, {client} client"
        target = f"at most {limit:g} x {peer}"
        ratio = by_key.get((peer, size_bytes, client))
        if ratio is None:
            yield Verdict(promise, target, "not measured", Outcome.NOT_MEASURED)
            continue
        others = [by_key.get((name, size_bytes, client)) for name in FLOORS if name != peer]
        words = [ratio.words]
        if peer in FLOORS:
            words += [f"{other.median:.2f} x {other.peer}" for other in others if other]
        yield Verdict(promise, target, "; ".join(words), outcome(ratio.median <= limit))


def _of_baseline(found: list[Ratio]) -> Iterator[Verdict]:
    """A small call is not slower than in the other checkout, by fastest and by median rounds."""
    for ratio in found:
        if ratio.peer == Baseline.name and ratio.size_bytes == SMALL:
            is_met = max(ratio.fastest, ratio.median) <= NOT_SLOWER
            promise = f"call of 16 floats, {ratio.client} client"
            target = f"at most {NOT_SLOWER:g} x {ratio.peer}, fastest and median"
            yield Verdict(promise, target, ratio.words, outcome(is_met))


# (promise, limit, unit, scale, the value of a run)
_LIMITS: tuple[tuple[str, float, str, float, Callable[[Lifecycle], float]], ...] = (
    (
        "front's memory before the calls",
        60 * MIB,
        "MiB",
        MIB,
        lambda life: life.memory[0].rss_bytes,
    ),
    ("front's memory after them", 60 * MIB, "MiB", MIB, lambda life: life.memory[1].rss_bytes),
    ("stat p99 while compiling, 8 clients", 5e-3, "ms", 1e-3, lambda life: life.stats.p99_s),
    ("mount to usable", 2.0, "s", 1, lambda life: life.mount_s),
    ("first call after a remount", 0.5, "s", 1, lambda life: life.first_call_s.median),
)


def _of_limit(
    promise: str,
    limit: float,
    unit: str,
    scale: float,
    value: Callable[[Lifecycle], float],
    life: Lifecycle | None,
) -> Verdict:
    target = f"under {limit / scale:g} {unit}"
    if life is None:
        return Verdict(promise, target, "not measured", Outcome.NOT_MEASURED)
    found = value(life)
    return Verdict(promise, target, f"{found / scale:.3g} {unit}", outcome(found < limit))


def _as_fast(promise: str, other: str, found: Comparison) -> Verdict:
    rounds = f"rounds {found.ratios.fastest:.2f} to {found.ratios.slowest:.2f}"
    words = f"{found.ratio:.2f} x ({rounds})"
    return Verdict(
        promise, f"at most {AS_FAST:g} x {other}", words, outcome(found.ratio <= AS_FAST)
    )


def _quick_import(found: Import) -> Verdict:
    target = f"under {IMPORT_S * 1e3:g} ms"
    name = found.what.partition(",")[0]
    words = f"{found.seconds * 1e3:.3g} ms"
    return Verdict(f"import of a {name}", target, words, outcome(found.seconds < IMPORT_S))


def _of_arrays(found: Arrays) -> list[Verdict]:
    weights, read, step_s = found.bound.ratio, found.read.ratio, found.step_s.median
    return [
        Verdict(
            "call on bound weights of 256 MiB",
            f"at most {BOUND:g} x small weights",
            f"{weights:.2f} x",
            outcome(weights <= BOUND),
        ),
        Verdict(
            "two file operations of a training step",
            f"under {STEP_S * 1e6:g} us",
            f"{step_s * 1e6:.0f} us",
            outcome(step_s < STEP_S),
        ),
        Verdict(
            "parameters after 1,000 steps",
            f"JAX's to {DIFFERENCE:g}",
            f"{found.difference:.3g} apart",
            outcome(found.difference <= DIFFERENCE),
        ),
        Verdict(
            "256 MiB result read by mmap",
            f"at most {READ:g} x tmpfs's time",
            f"{read:.2f} x",
            outcome(read <= READ),
        ),
    ]


def _no_jaxlib(life: Lifecycle | None) -> Verdict:
    promise, target = "jaxlib in the front", "not mapped"
    if life is None:
        return Verdict(promise, target, "not measured", Outcome.NOT_MEASURED)
    mapped = any(sample.maps_jaxlib for sample in life.memory)
    return Verdict(promise, target, "mapped" if mapped else "not mapped", outcome(not mapped))


def _long_enough(life: Lifecycle | None) -> Verdict:
    promise, target = "the compile during the stats", f"at least {LONG_COMPILE_S:g} s"
    if life is None:
        return Verdict(promise, target, "not measured", Outcome.NOT_MEASURED)
    seconds = life.stats.compile_s
    return Verdict(promise, target, f"{seconds:.1f} s", outcome(seconds >= LONG_COMPILE_S))
