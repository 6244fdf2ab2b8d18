"""The last calls and jobs as a trace in Chrome's JSON format, which ui.perfetto.dev opens.

https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU.  Spans of a thread
must not overlap unless one contains the other, so calls at the same time get lanes of their own.

A record is encoded at the first read of the trace after it; from then on only the text is kept.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from itertools import pairwise
from typing import NamedTuple

import msgspec

import jaxfs
from jaxfs.calls import record
from jaxfs.calls.record import CallRecord
from jaxfs.programs import jobs
from jaxfs.programs.jobs import BuildJob

PROCESSES = ("front", "engine", "tracer")  # numbered from 1; pids change with each restart
TRACKS = {  # each with the number of its process, in the order they are shown
    "front": 1,
    "queue": 1,
    "upload": 2,
    "run": 2,
    "download": 2,
    "trace": 3,
    "compile": 3,
    "load": 3,
    "draw": 3,
}
STAGES = ("queue", "upload", "run", "download")  # of a call, one after another
Args = dict[str, int | str]
_LANES = 10_000  # thread numbers for each track


class Span(msgspec.Struct, frozen=True, gc=False, tag_field="ph", tag="X"):
    """A complete event of the format.

    Attributes:
        name: What the viewer shows on it.
        cat: Its category: the track.
        ts: When it began, microseconds.
        dur: How long it took, microseconds.
        pid: The number of its process in `PROCESSES`.
        tid: Its thread: a lane of the track.
        args: What the viewer shows when it is selected.
    """

    name: str
    cat: str
    ts: int
    dur: int
    pid: int
    tid: int
    args: Args


class Metadata(msgspec.Struct, frozen=True, tag_field="ph", tag="M"):
    """A metadata event: the name or the position of a process or a thread.

    Attributes:
        name: What it sets, as the format calls it.
        pid: The process.
        tid: The thread, 0 for the process itself.
        args: The value.
    """

    name: str
    pid: int
    tid: int
    args: Args


class EncodedRecord(NamedTuple):
    """The events of one call or job.

    Attributes:
        uid: The user it belongs to.
        threads: The threads that its spans are on.
        events: The spans as JSON, with commas between them.
    """

    uid: int
    threads: tuple[int, ...]
    events: bytes


class Lanes:
    """The lanes of one track: each is free from the end of its last span.

    Attributes:
        pid: The number of the track's process.

    >>> lanes = Lanes("front")
    >>> lanes.take(0, 10), lanes.take(5, 8), lanes.take(8, 9)
    (0, 1, 1)
    """

    def __init__(self, track: str) -> None:
        self.pid = TRACKS[track]
        self._first = list(TRACKS).index(track) * _LANES
        self._free: list[tuple[int, int]] = []  # a heap: end of the last span, lane

    def take(self, begin: int, end: int) -> int:
        """Returns the thread for a span; spans that overlap get different ones.

        Args:
            begin: When it begins, in microseconds.
            end: When it ends, in microseconds.
        """
        is_free = bool(self._free) and self._free[0][0] <= begin
        lane = heappop(self._free)[1] if is_free else len(self._free)
        heappush(self._free, (end, lane))
        return self._first + min(lane, _LANES - 1)


class Timeline:
    """The last calls and jobs of a mount."""

    def __init__(self, calls: deque[CallRecord], jobs_: deque[BuildJob]) -> None:
        """Takes records from two queues, which others fill."""
        self._new_calls = calls
        self._new_jobs = jobs_
        self._calls: deque[EncodedRecord] = deque(maxlen=record.KEEP)
        self._jobs: deque[EncodedRecord] = deque(maxlen=jobs.KEEP)
        self._lanes = {track: Lanes(track) for track in TRACKS}
        self._real_time_usec = time.time_ns() // 1000 - time.monotonic_ns() // 1000

    def text(self, uid: int | None) -> bytes:
        """Returns the trace of one user's calls and programs as JSON; None: of all users."""
        self._encode_new()
        records = (*self._jobs, *self._calls)
        shown = [record for record in records if uid is None or record.uid == uid]
        threads = sorted({thread for record in shown for thread in record.threads})
        events = [msgspec.json.encode(event) for event in _metadata(threads)]
        events += [record.events for record in shown]
        head = {
            "displayTimeUnit": "ms",
            "otherData": {
                "version": f"jaxfs {jaxfs.__version__}",
                "clock": "CLOCK_MONOTONIC",
                "realtime_minus_clock_usec": self._real_time_usec,
            },
        }
        start = msgspec.json.encode(head)[:-1] + b',"traceEvents":[\n'
        return start + b",\n".join(events) + b"\n]}\n"

    def _encode_new(self) -> None:
        while self._new_jobs:
            job = self._new_jobs.popleft()
            self._jobs.append(_encoded(job.uid, self._job_spans(job)))
        while self._new_calls:
            call = self._new_calls.popleft()
            self._calls.append(_encoded(call.uid, self._call_spans(call)))

    def _call_spans(self, call: CallRecord) -> Iterator[Span]:
        path = call.program.path
        whole: Args = {
            "program": path,
            "call": call.call,
            "uid": call.uid,
            "input_bytes": call.input_bytes,
            "output_bytes": 0 if call.errno else call.output_bytes,
            "errno": call.errno,
        }
        begun, *stages = _times(call)
        front = self._span("front", path, begun, stages[-1], whole)
        yield front
        yield msgspec.structs.replace(front, name="read", dur=stages[0] - begun, args={})
        if not call.sent_usec:  # it ended before it began
            return
        each: Args = {"program": path, "call": call.call}
        for track, (begin, end) in zip(STAGES, pairwise(stages), strict=True):
            yield self._span(track, call.call or path, begin, end, each)

    def _job_spans(self, job: BuildJob) -> Iterator[Span]:
        args: Args = {
            "uid": job.uid,
            "sha256": job.build_key.source_sha256,
            "steps": "/".join(job.build_key.steps),
            "errno": job.errno,
        }
        whole = self._span(job.kind, job.program, job.asked_usec, job.ended_usec, args)
        waited = (job.started_usec or job.ended_usec) - job.asked_usec
        yield whole
        yield msgspec.structs.replace(whole, name="waiting", dur=waited, args={})

    def _span(self, track: str, name: str, begin: int, end: int, args: Args) -> Span:
        lanes = self._lanes[track]
        return Span(name, track, begin, end - begin, lanes.pid, lanes.take(begin, end), args)


def _times(call: CallRecord) -> list[int]:
    """Returns when a call was begun, submitted, sent, started, run and ended, in microseconds.

    They are in order whatever the engine reported.  A run that failed has no start: it counts from
    when it was sent.
    """
    started = call.started_usec or call.sent_usec
    ran = started + call.run_usec if call.started_usec else call.ended_usec
    found = [call.begun_usec]
    for time_usec in (call.submitted_usec, call.sent_usec, started, ran):
        found.append(min(max(time_usec, found[-1]), call.ended_usec))
    return [*found, call.ended_usec]


def _encoded(uid: int, spans: Iterable[Span]) -> EncodedRecord:
    shown = list(spans)
    events = b",\n".join(msgspec.json.encode(span) for span in shown)
    return EncodedRecord(uid, tuple(span.tid for span in shown), events)


def _metadata(threads: Iterable[int]) -> Iterator[Metadata]:
    """Yields the names of the processes and of some threads, and their order."""
    tracks = list(TRACKS)
    for pid, name in enumerate(PROCESSES, 1):
        yield Metadata("process_name", pid, 0, {"name": name})
        yield Metadata("process_sort_index", pid, 0, {"sort_index": pid})
    for thread in threads:
        number, lane = divmod(thread, _LANES)
        track = tracks[number]
        name = f"{track} {lane + 1}" if lane else track
        yield Metadata("thread_name", TRACKS[track], thread, {"name": name})
        yield Metadata("thread_sort_index", TRACKS[track], thread, {"sort_index": thread})
