"""The last calls and jobs as a trace in Chrome's JSON format, which ui.perfetto.dev opens.

https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU.  Spans of a track
must not overlap unless one holds the other, so calls at the same time get lanes of their own.

A record becomes text once, when somebody looks; from then on only the text is kept.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec

import jaxfs
from jaxfs.calls import record
from jaxfs.calls.record import CallRecord
from jaxfs.programs import jobs
from jaxfs.programs.jobs import BuildJob

PROCESSES = ("front", "engine", "tracer")  # their numbers here are not their pids: these change
TRACKS = {  # in the order they are shown
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
STAGES = ("queue", "upload", "run", "download")
_LANES = 10_000  # numbers a track may have


class Span(msgspec.Struct, frozen=True, gc=False, tag_field="ph", tag="X"):
    """A complete event; ``ts`` and ``dur`` are microseconds."""

    name: str
    cat: str
    ts: int
    dur: int
    pid: int
    tid: int
    args: dict[str, Any]


class _Text(NamedTuple):
    """One record's events, and the threads these are on."""

    uid: int
    threads: tuple[int, ...]
    events: bytes


class Lanes:
    """Places of one track, each free again from when its last span ended."""

    def __init__(self, track: str) -> None:
        self.pid = TRACKS[track]
        self._first = list(TRACKS).index(track) * _LANES
        self._free: list[tuple[int, int]] = []  # since when, which; a heap

    def take(self, begin: int, end: int) -> int:
        """The thread for a span."""
        is_free = bool(self._free) and self._free[0][0] <= begin
        lane = heappop(self._free)[1] if is_free else len(self._free)
        heappush(self._free, (end, lane))
        return self._first + min(lane, _LANES - 1)


class Timeline:
    """Takes what ``calls`` and ``jobs`` collect."""

    def __init__(self, calls: deque[CallRecord], jobs_: deque[BuildJob]) -> None:
        self._new_calls = calls
        self._new_jobs = jobs_
        self._calls: deque[_Text] = deque(maxlen=record.KEEP)
        self._jobs: deque[_Text] = deque(maxlen=jobs.KEEP)
        self._lanes = {track: Lanes(track) for track in TRACKS}
        self._real_time_usec = time.time_ns() // 1000 - time.monotonic_ns() // 1000

    def text(self, uid: int | None) -> bytes:
        """The trace of one user's calls and programs, or of everybody's."""
        self._take_new()
        shown = [t for t in (*self._jobs, *self._calls) if uid is None or t.uid == uid]
        threads = sorted({thread for text in shown for thread in text.threads})
        events = [msgspec.json.encode(event) for event in _names(threads)]
        events += [text.events for text in shown]
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

    def _take_new(self) -> None:
        while self._new_jobs:
            job = self._new_jobs.popleft()
            self._jobs.append(_text(job.uid, self._job_spans(job)))
        while self._new_calls:
            call = self._new_calls.popleft()
            self._calls.append(_text(call.uid, self._call_spans(call)))

    def _call_spans(self, call: CallRecord) -> Iterator[Span]:
        path = call.program.path
        story = {
            "program": path,
            "call": call.call,
            "uid": call.uid,
            "input_bytes": call.input_bytes,
            "output_bytes": 0 if call.errno else call.output_bytes,
            "errno": call.errno,
        }
        times = _in_order(call)
        begun, *stages = times
        front = self._span("front", path, begun, stages[-1], story)
        yield front
        yield msgspec.structs.replace(front, name="read", dur=stages[0] - begun, args={})
        if not call.sent_usec:  # it ended before it began
            return
        which = {"program": path, "call": call.call}
        for track, (begin, end) in zip(STAGES, pairwise(stages), strict=True):
            yield self._span(track, call.call or path, begin, end, which)

    def _job_spans(self, job: BuildJob) -> Iterator[Span]:
        story = {
            "uid": job.uid,
            "sha256": job.build_key.source_sha256,
            "steps": "/".join(job.build_key.steps),
            "errno": job.errno,
        }
        whole = self._span(job.kind, job.program, job.asked_usec, job.ended_usec, story)
        waited = (job.started_usec or job.ended_usec) - job.asked_usec
        yield whole
        yield msgspec.structs.replace(whole, name="waiting", dur=waited, args={})

    def _span(self, track: str, name: str, begin: int, end: int, args: dict[str, Any]) -> Span:
        lanes = self._lanes[track]
        return Span(name, track, begin, end - begin, lanes.pid, lanes.take(begin, end), args)


def _in_order(call: CallRecord) -> list[int]:
    """Begun, submitted, sent, started, run, ended; what an engine claims does not break the order.

    Of a run that failed is not known when it started: it counts from when it was sent.
    """
    started = call.started_usec or call.sent_usec
    ran = started + call.run_usec if call.started_usec else call.ended_usec
    found = [call.begun_usec]
    for time_usec in (call.submitted_usec, call.sent_usec, started, ran):
        found.append(min(max(time_usec, found[-1]), call.ended_usec))
    return [*found, call.ended_usec]


def _text(uid: int, spans: Iterable[Span]) -> _Text:
    shown = list(spans)
    events = b",\n".join(msgspec.json.encode(span) for span in shown)
    return _Text(uid, tuple(span.tid for span in shown), events)


def _names(threads: Iterable[int]) -> Iterator[dict[str, Any]]:
    """Metadata events: what processes and threads are called, and their order."""
    tracks = list(TRACKS)
    for pid, name in enumerate(PROCESSES, 1):
        yield _metadata("process_name", pid, 0, name=name)
        yield _metadata("process_sort_index", pid, 0, sort_index=pid)
    for thread in threads:
        number, lane = divmod(thread, _LANES)
        track = tracks[number]
        name = f"{track} {lane + 1}" if lane else track
        yield _metadata("thread_name", TRACKS[track], thread, name=name)
        yield _metadata("thread_sort_index", TRACKS[track], thread, sort_index=thread)


def _metadata(kind: str, pid: int, tid: int, **args: object) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "pid": pid, "tid": tid, "args": args}
