"""What jaxfs promises, and whether this run shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.clients.samples import Figure
from benchmarks.plan import MIB, SMALL
from benchmarks.rounds import Comparison
from benchmarks.run import Results
from benchmarks.workloads.arrays import Arrays
from benchmarks.workloads.imports import Import
from benchmarks.workloads.lifecycle import Lifecycle

LONG_COMPILE_S = 3.0  # a shorter one proves nothing about answering meanwhile


@dataclass(frozen=True)
class Ratio:
    """jaxfs's median over a peer's, and the least and greatest such ratio within a round."""

    peer: str
    size_bytes: int
    clients: int
    median: float
    least: float
    greatest: float


@dataclass(frozen=True)
class Verdict:
    """A promise and what was found; ``met`` is None where it was not measured."""

    promise: str
    target: str
    found: str
    met: bool | None


def ratios(figures: list[Figure]) -> list[Ratio]:
    """jaxfs against every other peer, where both took the cell."""
    by_cell = {(f.peer, f.size_bytes, f.clients): f for f in figures}
    pairs = [
        (ours, other)
        for other in figures
        if other.peer != "jaxfs"
        and (ours := by_cell.get(("jaxfs", other.size_bytes, other.clients))) is not None
    ]
    return [_ratio(ours, other) for ours, other in pairs]


def _ratio(ours: Figure, other: Figure) -> Ratio:
    rounds = [a / b for a, b in zip(ours.round_p50_s, other.round_p50_s, strict=True)]
    return Ratio(
        other.peer,
        other.size_bytes,
        other.clients,
        ours.p50_s / other.p50_s,
        min(rounds),
        max(rounds),
    )


# (promise, peer, message bytes, limit): one client's median against the peer's
_RATIOS = (
    ("call of 16 floats", "floor", SMALL, 2.0),
    ("call of 16 floats", "fastapi", SMALL, 0.5),
    ("call of 16 floats", "grpc", SMALL, 0.25),
    ("64 MiB in and out", "fastapi", 64 * MIB, 0.5),
)

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
    ("first call after a remount", 0.5, "s", 1, lambda life: life.first_call_s),
)


AS_FAST = 1.1  # times the other's time
IMPORT_S = 30e-3
BOUND = 1.2  # times a call on small weights
STEP_S = 500e-6
DIFFERENCE = 1e-5
READ = 2.0  # times tmpfs's time


def verdicts(results: Results) -> list[Verdict]:
    """One for each promise."""
    found = {(r.peer, r.size_bytes): r for r in ratios(results.figures) if r.clients == 1}
    told = [_of_ratio(*row, found.get((row[1], row[2]))) for row in _RATIOS]
    life = results.lifecycle
    told += [_of_limit(*row, life) for row in _LIMITS]
    imports = results.imports
    told += [_as_fast("gradient", "JAX's own", one) for one in imports.gradients] if imports else []
    told += [_quick_import(imports.deep)] if imports else []
    told += [_as_fast("call of", "a plain program's", one) for one in results.transformed]
    told += _of_arrays(results.arrays) if results.arrays else []
    return [*told, _no_jaxlib(life), _long_enough(life)]


def _as_fast(promise: str, other: str, found: Comparison) -> Verdict:
    least, greatest = min(found.round_ratios), max(found.round_ratios)
    words = f"{found.ratio:.2f} x (rounds {least:.2f} to {greatest:.2f})"
    name = found.what.partition(":")[0] if promise == "gradient" else found.what
    target = f"at most {AS_FAST:g} x {other}"
    return Verdict(f"{promise} {name}", target, words, found.ratio <= AS_FAST)


def _of_arrays(found: Arrays) -> list[Verdict]:
    weights, read = found.bound.ratio, found.read.ratio
    return [
        Verdict(
            "call on bound weights of 256 MiB",
            f"at most {BOUND:g} x small weights",
            f"{weights:.2f} x",
            weights <= BOUND,
        ),
        Verdict(
            "two file operations of a training step",
            f"under {STEP_S * 1e6:g} us",
            f"{found.step_s * 1e6:.0f} us",
            found.step_s < STEP_S,
        ),
        Verdict(
            "parameters after 1,000 steps",
            f"JAX's to {DIFFERENCE:g}",
            f"{found.difference:.3g} apart",
            found.difference <= DIFFERENCE,
        ),
        Verdict(
            "256 MiB result read by mmap",
            f"at most {READ:g} x tmpfs's time",
            f"{read:.2f} x",
            read <= READ,
        ),
    ]


def _quick_import(found: Import) -> Verdict:
    target = f"under {IMPORT_S * 1e3:g} ms"
    name = found.what.partition(",")[0]
    words = f"{found.seconds * 1e3:.3g} ms"
    return Verdict(f"import of a {name}", target, words, found.seconds < IMPORT_S)


def _of_ratio(promise: str, peer: str, size_bytes: int, limit: float, r: Ratio | None) -> Verdict:
    target = f"at most {limit:g} x {peer}" if peer == "floor" else f"under {limit:g} x {peer}"
    if r is None:
        return Verdict(promise, target, "not measured", None)
    found = f"{r.median:.2f} x (rounds {r.least:.2f} to {r.greatest:.2f})"
    return Verdict(promise, target, found, r.median <= limit)


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
        return Verdict(promise, target, "not measured", None)
    return Verdict(promise, target, f"{value(life) / scale:.3g} {unit}", value(life) < limit)


def _no_jaxlib(life: Lifecycle | None) -> Verdict:
    if life is None:
        return Verdict("jaxlib in the front", "not mapped", "not measured", None)
    mapped = any(sample.maps_jaxlib for sample in life.memory)
    found = "mapped" if mapped else "not mapped"
    return Verdict("jaxlib in the front", "not mapped", found, not mapped)


def _long_enough(life: Lifecycle | None) -> Verdict:
    promise, target = "the compile during the stats", f"at least {LONG_COMPILE_S:g} s"
    if life is None:
        return Verdict(promise, target, "not measured", None)
    seconds = life.stats.compile_s
    return Verdict(promise, target, f"{seconds:.1f} s", seconds >= LONG_COMPILE_S)
