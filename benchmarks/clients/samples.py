"""What clients measured in a round, and the figure that all rounds make."""

from __future__ import annotations

import statistics
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.plan import Cell, Client
from benchmarks.process_counters import Counters
from benchmarks.rounds import Spread, quantile


class CallFailed(Exception):
    """A client met an error; the message is its words."""


@dataclass(frozen=True)
class Sample:
    """A round of one peer in one row.

    Attributes:
        began_ns, ended_ns: on the machine's monotonic clock.
        latencies_ns: of every call.
        counters: what each process involved used, where it was counted.
    """

    began_ns: int
    ended_ns: int
    latencies_ns: Sequence[int]
    counters: Mapping[str, Counters] = field(default_factory=dict)


def joined(samples: Sequence[Sample]) -> Sample:
    """What several client processes measured of the same round."""
    return Sample(
        min(sample.began_ns for sample in samples),
        max(sample.ended_ns for sample in samples),
        array("q", [ns for sample in samples for ns in sample.latencies_ns]),
    )


@dataclass(frozen=True)
class ProcessCost:
    """What one process uses for one call; for each figure the spread of the rounds.

    Attributes:
        process: "client", "server"; of jaxfs "front" and "engine".
        voluntary_switches, involuntary_switches, wakeups: as in ``Counters``.
        cpu_s: seconds on a CPU.
        instructions: outside the kernel; None where they are not available.
    """

    process: str
    voluntary_switches: Spread
    involuntary_switches: Spread
    wakeups: Spread
    cpu_s: Spread
    instructions: Spread | None


@dataclass(frozen=True)
class Figure:
    """One peer in one row, over all rounds.

    Attributes:
        peer, size_bytes, clients: what was measured.
        client: the program that called.
        calls: in all rounds.
        calls_per_s, bytes_per_s: over the time of all rounds; bytes in and out together.
        p50_s, p99_s: quantiles of all calls.
        round_s: the median call of a round.
        round_p50_s: that of each round, in the order of the rounds.
        costs: for each process, where it was counted.
    """

    peer: str
    size_bytes: int
    clients: int
    client: str
    calls: int
    calls_per_s: float
    p50_s: float
    p99_s: float
    bytes_per_s: float
    round_s: Spread
    round_p50_s: tuple[float, ...]
    costs: tuple[ProcessCost, ...] = ()

    @property
    def key(self) -> tuple[int, int, Client]:
        """The row: figures with the same key took turns."""
        return self.size_bytes, self.clients, Client(self.client)


def figure(peer: str, cell: Cell, rounds: Sequence[Sample]) -> Figure:
    """The figure of a peer that took its turn in all rounds of a row."""
    latencies = [ns / 1e9 for sample in rounds for ns in sample.latencies_ns]
    busy_s = sum(sample.ended_ns - sample.began_ns for sample in rounds) / 1e9
    rate = len(latencies) / busy_s
    medians = tuple(statistics.median(sample.latencies_ns) / 1e9 for sample in rounds)
    return Figure(
        peer=peer,
        size_bytes=cell.size_bytes,
        clients=cell.clients,
        client=cell.client.value,
        calls=len(latencies),
        calls_per_s=rate,
        p50_s=statistics.median(latencies),
        p99_s=quantile(latencies, 0.99),
        bytes_per_s=rate * 2 * cell.size_bytes,
        round_s=Spread.over(medians),
        round_p50_s=medians,
        costs=tuple(_cost(process, rounds) for process in rounds[0].counters),
    )


def _cost(process: str, rounds: Sequence[Sample]) -> ProcessCost:
    counted = [(sample.counters[process], len(sample.latencies_ns)) for sample in rounds]
    retired = [(c.instructions, calls) for c, calls in counted if c.instructions is not None]
    return ProcessCost(
        process,
        Spread.over([c.voluntary_switches / calls for c, calls in counted]),
        Spread.over([c.involuntary_switches / calls for c, calls in counted]),
        Spread.over([c.wakeups / calls for c, calls in counted]),
        Spread.over([c.cpu_ns / 1e9 / calls for c, calls in counted]),
        Spread.over([count / calls for count, calls in retired]) if retired else None,
    )
