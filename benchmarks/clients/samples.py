"""The timed loop, the same for every peer, and what is made of its latencies."""

from __future__ import annotations

import statistics
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Barrier, Thread
from time import perf_counter_ns

from benchmarks.transports import Endpoint, Transport


class WrongReply(Exception):
    """A peer answered with other bytes than the program gives."""


@dataclass(frozen=True)
class Job:
    """One client process's part of a round."""

    endpoint: Endpoint
    size_bytes: int
    clients: int
    seconds: float
    min_calls: int


@dataclass(frozen=True)
class Sample:
    """A round of one peer in one cell; the clock is the machine's monotonic one, in ns."""

    began_ns: int
    ended_ns: int
    latencies_ns: Sequence[int]


def timed_calls(transport: Transport, request: bytes, seconds: float, min_calls: int) -> array[int]:
    """Call until the time is over; the latency of each call."""
    latencies = array("q")
    call, clock = transport.call, perf_counter_ns
    until = clock() + int(seconds * 1e9)
    while True:
        before = clock()
        call(request)
        after = clock()
        latencies.append(after - before)
        if after >= until and len(latencies) >= min_calls:
            return latencies


def check(transport: Transport, request: bytes, expected: bytes) -> None:
    """One untimed call, which also warms the connection.  Raises WrongReply."""
    reply = transport.call(request)
    if bytes(reply) != expected:  # a memoryview would compare item by item
        raise WrongReply(f"{len(reply)} bytes that differ from the {len(expected)} expected")


class ClientThread(Thread):
    """One client: waits at the start line, calls, keeps its latencies or its failure."""

    def __init__(self, transport: Transport, request: bytes, job: Job, start: Barrier) -> None:
        super().__init__(daemon=True)
        self._transport, self._request, self._job, self._start = transport, request, job, start
        self.latencies: array[int] = array("q")
        self.error: Exception | None = None

    def run(self) -> None:
        self._start.wait()
        job = self._job
        try:
            self.latencies = timed_calls(self._transport, self._request, job.seconds, job.min_calls)
        except Exception as error:
            self.error = error


def run_clients(transports: Sequence[Transport], request: bytes, job: Job) -> Sample:
    """All clients at once, each in a thread.  Raises what the first failing one met."""
    start = Barrier(len(transports) + 1)
    threads = [ClientThread(transport, request, job, start) for transport in transports]
    for thread in threads:
        thread.start()
    start.wait()
    began = perf_counter_ns()
    for thread in threads:
        thread.join()
    ended = perf_counter_ns()
    for thread in threads:
        if thread.error is not None:
            raise thread.error
    return Sample(began, ended, array("q", [ns for t in threads for ns in t.latencies]))


def joined(samples: Sequence[Sample]) -> Sample:
    """What several client processes saw of the same round."""
    return Sample(
        min(sample.began_ns for sample in samples),
        max(sample.ended_ns for sample in samples),
        array("q", [ns for sample in samples for ns in sample.latencies_ns]),
    )


def quantile(values: Sequence[float], q: float) -> float:
    """The smallest value that at least the fraction ``q`` of all does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


@dataclass(frozen=True)
class Figure:
    """One peer in one cell, over all rounds."""

    peer: str
    size_bytes: int
    clients: int
    calls: int
    calls_per_s: float
    p50_s: float
    p99_s: float
    bytes_per_s: float  # in and out together
    round_p50_s: tuple[float, ...]


def figure(peer: str, size_bytes: int, clients: int, rounds: Sequence[Sample]) -> Figure:
    """Medians over all calls; the rate over the time of all rounds."""
    latencies = [ns / 1e9 for sample in rounds for ns in sample.latencies_ns]
    busy_s = sum(sample.ended_ns - sample.began_ns for sample in rounds) / 1e9
    rate = len(latencies) / busy_s
    return Figure(
        peer=peer,
        size_bytes=size_bytes,
        clients=clients,
        calls=len(latencies),
        calls_per_s=rate,
        p50_s=statistics.median(latencies),
        p99_s=quantile(latencies, 0.99),
        bytes_per_s=rate * 2 * size_bytes,
        round_p50_s=tuple(statistics.median(s.latencies_ns) / 1e9 for s in rounds),
    )
