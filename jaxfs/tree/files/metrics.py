"""``metrics``: what a monitoring system collects, in Prometheus' text format.

https://prometheus.io/docs/instrumenting/exposition_formats/; adding a metric is adding a row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from jaxfs.ownership import Caller
from jaxfs.tree.rows import File, Row
from jaxfs.tree.system import System


class Metric(NamedTuple):
    """Counters only grow, as long as the daemon lives."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    value: Callable[[System], int]


METRICS = (
    Metric(
        "jaxfs_engine_restarts_total",
        "counter",
        "Times the engine died and was started again.",
        lambda system: sum(engine.restarts for engine in system.engines.all()),
    ),
    Metric(
        "jaxfs_engines",
        "gauge",
        "Engine processes; with engine=per-user one for each user with calls of late.",
        lambda system: sum(engine.pid != 0 for engine in system.engines.all()),
    ),
    Metric(
        "jaxfs_tracer_restarts_total",
        "counter",
        "Times the tracer died and was started again.",
        lambda system: system.tracer.restarts,
    ),
    Metric(
        "jaxfs_calls_total",
        "counter",
        "Calls that have ended, well or not.",
        lambda system: system.calls.ended,
    ),
    Metric(
        "jaxfs_call_errors_total",
        "counter",
        "Calls that have ended with an error.",
        lambda system: system.calls.ended_badly,
    ),
    Metric(
        "jaxfs_internal_errors_total",
        "counter",
        "Requests answered with EIO for a fault of jaxfs itself; the log has each.",
        lambda system: system.internal_errors,
    ),
    Metric(
        "jaxfs_result_bytes",
        "gauge",
        "Memory of results that were not removed.",
        lambda system: system.calls.accounts.result_bytes,
    ),
    Metric(
        "jaxfs_shared_memory_bytes",
        "gauge",
        "Shared memory in use or kept for the next use.",
        lambda system: sum(
            engine.pool.used_bytes + engine.pool.free_bytes for engine in system.engines.all()
        ),
    ),
    Metric(
        "jaxfs_programs",
        "gauge",
        "Programs, working or not.",
        lambda system: len(system.programs),
    ),
    Metric(
        "jaxfs_inodes",
        "gauge",
        "Files and directories the kernel remembers.",
        lambda system: system.inodes,
    ),
    Metric(
        "jaxfs_waiters",
        "gauge",
        "Requests that wait, or may have to; the open of this file is one.",
        lambda system: system.waiters,
    ),
)


def exposition(system: System) -> str:
    """The whole text."""
    return "".join(
        f"# HELP {metric.name} {metric.help}\n"
        f"# TYPE {metric.name} {metric.kind}\n"
        f"{metric.name} {metric.value(system)}\n"
        for metric in METRICS
    )


def _read(system: System, subject: System, caller: Caller) -> bytes:
    return exposition(system).encode()


ROWS: tuple[Row, ...] = (
    File("metrics", 0o444, "Prometheus text", "counters and gauges for monitoring", read=_read),
)
