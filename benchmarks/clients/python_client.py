"""The Python client: processes that call, apart from the peers and from the process of the run.

Each peer gets its own, so that one peer's client library is no burden for another's.  Two processes
share the clients of a round, each client a thread; a call waits in the kernel, without the GIL.
"""

from __future__ import annotations

import multiprocessing
from array import array
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from threading import Barrier, Thread
from time import perf_counter_ns
from typing import Any

import numpy as np

from benchmarks.clients.samples import CallFailed, Sample, joined
from benchmarks.plan import Cell
from benchmarks.transports import Endpoint, Transport

PROCESSES = 2
ANSWER_S = 120.0  # no round lasts that long


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
class _Failure:
    reason: str


def request_for(size_bytes: int) -> bytes:
    """The inputs: floats that 2 * x + 1 maps exactly."""
    return np.resize(np.arange(251, dtype=np.float32), size_bytes // 4).tobytes()


def reply_for(request: bytes) -> bytes:
    """What the program answers."""
    return (np.frombuffer(request, np.float32) * 2 + 1).tobytes()


def timed_calls(transport: Transport, request: bytes, seconds: float, min_calls: int) -> array[int]:
    """Calls until the time is over; returns the latency of each call in ns."""
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
    """One client: waits for the others, calls, keeps its latencies or its failure."""

    def __init__(self, transport: Transport, request: bytes, job: Job, start: Barrier) -> None:
        super().__init__(daemon=True)
        self._transport, self._request, self._job, self._start = transport, request, job, start
        self.latencies: array[int] = array("q")
        self.error: Exception | None = None

    def run(self) -> None:
        """Waits for the other clients, then calls; keeps the error if a call fails."""
        self._start.wait()
        job = self._job
        try:
            self.latencies = timed_calls(self._transport, self._request, job.seconds, job.min_calls)
        except Exception as error:
            self.error = error


def run_clients(transports: Sequence[Transport], request: bytes, job: Job) -> Sample:
    """Runs all clients at once, each in a thread.  Raises the error of the first that failed."""
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


def _serve(pipe: Connection[Any, Any]) -> None:
    """A client process: jobs in, samples out, until the pipe closes."""
    with suppress(EOFError, ConnectionError, KeyboardInterrupt):
        while True:
            job = pipe.recv()
            try:
                pipe.send(_run(job, pipe))
            except Exception as error:
                pipe.send(_Failure(f"{type(error).__name__}: {error}"))


def _run(job: Job, pipe: Connection[Any, Any]) -> Sample:
    request = request_for(job.size_bytes)
    expected = request if job.endpoint.echoes else reply_for(request)
    with ExitStack() as stack:
        transports: list[Transport] = []
        for _ in range(job.clients):
            transports.append(stack.enter_context(closing(job.endpoint.connect())))
            check(transports[-1], request, expected)
        pipe.send(None)  # connected and warm
        pipe.recv()  # all are
        return run_clients(transports, request, job)


class Clients:
    """The client processes of one peer."""

    def __init__(self, pipes: Sequence[Connection[Any, Any]]) -> None:
        self._pipes = pipes

    @contextmanager
    def calling(self, endpoint: Endpoint, cell: Cell) -> Iterator[list[Sample]]:
        """Clients call while the block runs; the list holds the sample after it.

        Raises CallFailed.
        """
        active = self._pipes[: min(cell.clients, len(self._pipes))]
        job = Job(endpoint, cell.size_bytes, 0, cell.seconds, cell.min_calls)
        for pipe, share in zip(active, _shares(cell.clients, len(active)), strict=True):
            pipe.send(replace(job, clients=share))
        _all_answers(active)
        for pipe in active:
            pipe.send(None)
        result: list[Sample] = []
        yield result
        result.append(joined(_all_answers(active)))

    def round(self, endpoint: Endpoint, cell: Cell) -> Sample:
        """One round of a cell.  Raises CallFailed."""
        with self.calling(endpoint, cell) as result:
            pass
        return result[0]


def _shares(clients: int, processes: int) -> list[int]:
    return [len(range(index, clients, processes)) for index in range(processes)]


def _all_answers(pipes: Sequence[Connection[Any, Any]]) -> list[Any]:
    """Returns an answer from each, also after a failure: none may stay in a pipe for later."""
    answers = [_answer(pipe) for pipe in pipes]
    failures = [answer for answer in answers if isinstance(answer, _Failure)]
    if failures:
        for pipe, answer in zip(pipes, answers, strict=True):
            if answer is None:  # it waits at the start line
                pipe.send(None)
                _answer(pipe)
        raise CallFailed(failures[0].reason)
    return answers


def _answer(pipe: Connection[Any, Any]) -> Any:
    if not pipe.poll(ANSWER_S):
        raise TimeoutError(f"a client did not end its calls within {ANSWER_S:.0f} s")
    return pipe.recv()


@contextmanager
def client_processes(count: int = PROCESSES) -> Iterator[Clients]:
    """Fresh processes that have imported the loop and wait for jobs; ended after the block."""
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        pipes = []
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs,), daemon=True)
            process.start()
            theirs.close()
            stack.callback(_end, process)
            stack.callback(ours.close)
            pipes.append(ours)
        yield Clients(pipes)


def _end(process: Any) -> None:
    """Closing its pipe ends it; one that waits for a dead peer is killed."""
    process.join(2)
    process.kill()
    process.join(5)
