"""``metrics`` and ``trace``: what monitoring systems collect.

Adding a metric is adding a row of `METRICS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import jaxfs
from jaxfs.calls.call import now_usec
from jaxfs.posix.credentials import Credentials
from jaxfs.programs.program import Program
from jaxfs.vfs.monitoring.prometheus import SECOND_USEC, Kind, Sample, family, histogram
from jaxfs.vfs.mount import Mount
from jaxfs.vfs.node_specs import FileSpec, NodeSpec


class Metric(NamedTuple):
    """A row of `METRICS`.

    Attributes:
        name: As Prometheus shows it, with the unit; counters end in ``_total``.
        kind: Counters only grow, as long as the daemon lives.
        help: What it is.
        samples: Returns the current values.
    """

    name: str
    kind: Kind
    help: str
    samples: Callable[[Mount], Iterable[Sample]]


def _one(value: Callable[[Mount], float]) -> Callable[[Mount], Iterable[Sample]]:
    return lambda mount: (Sample(value(mount)),)


def _info(mount: Mount) -> Iterable[Sample]:
    toolchain = mount.engines.toolchain.split()  # jax 0.10.2 jaxlib 0.10.2
    versions = dict(zip(toolchain[::2], toolchain[1::2], strict=False))
    return (Sample(1, {"version": jaxfs.__version__, **versions}),)


def _errors(mount: Mount) -> Iterable[Sample]:
    counts = sorted(mount.errors.counts.items())
    return [Sample(count, {"errno": name}) for name, count in counts]


def _called(mount: Mount) -> Iterator[Program]:
    """Yields the programs that were called, written and transformed ones.

    Those without calls are left out, so that the page does not grow with each program.
    """
    for program in mount.programs:
        for one in (program, *program.transformed.values()):
            if one.stats.calls:
                yield one


def _programs(value: Callable[[Program], float]) -> Callable[[Mount], Iterable[Sample]]:
    return lambda mount: [
        Sample(value(program), {"program": program.path}) for program in _called(mount)
    ]


def _times(value: Callable[[Program], int]) -> Callable[[Mount], Iterable[Sample]]:
    def samples(mount: Mount) -> Iterable[Sample]:
        for program in _called(mount):
            labels = {"program": program.path}
            yield Sample(value(program) / SECOND_USEC, labels, "_sum")
            yield Sample(program.stats.calls, labels, "_count")

    return samples


def _job_errors(mount: Mount) -> Iterable[Sample]:
    counts = sorted(mount.programs.jobs.counts.items())
    return [Sample(n, {"job": kind, "errno": errno}) for (kind, errno), n in counts if errno]


def _job_times(mount: Mount) -> Iterable[Sample]:
    times = mount.programs.jobs.times.items()
    return [sample for kind, found in times for sample in histogram(found, {"job": kind})]


def _memory(key: str) -> Callable[[Mount], Iterable[Sample]]:
    """Returns the samples of one figure of the devices' memory; CPUs have none."""
    return lambda mount: [
        Sample(node.memory[key], {"device": name})
        for name, node in mount.devices.items()
        if key in node.memory
    ]


METRICS = (
    Metric("jaxfs_info", "gauge", "Versions; the value is 1.", _info),
    Metric(
        "jaxfs_uptime_seconds",
        "gauge",
        "Since the daemon started.",
        _one(lambda mount: (now_usec() - mount.started_usec) / SECOND_USEC),
    ),
    Metric(
        "jaxfs_engine_restarts_total",
        "counter",
        "Times the engine died and was started again.",
        _one(lambda mount: sum(engine.restarts for engine in mount.engines.all())),
    ),
    Metric(
        "jaxfs_engines",
        "gauge",
        "Engine processes; with engine=per-user one for each user with calls of late.",
        _one(lambda mount: sum(engine.pid != 0 for engine in mount.engines.all())),
    ),
    Metric(
        "jaxfs_separated_users",
        "gauge",
        "Users with an engine of their own because their calls delayed those of others.",
        _one(lambda mount: mount.calls.admission.separated),
    ),
    Metric(
        "jaxfs_tracer_restarts_total",
        "counter",
        "Times the tracer died and was started again.",
        _one(lambda mount: mount.compiler.restarts),
    ),
    Metric(
        "jaxfs_calls_total",
        "counter",
        "Calls that have ended, well or not.",
        _one(lambda mount: mount.calls.stats.ended),
    ),
    Metric(
        "jaxfs_call_errors_total",
        "counter",
        "Calls that have ended with an error.",
        _one(lambda mount: mount.calls.stats.failed),
    ),
    Metric(
        "jaxfs_call_seconds",
        "histogram",
        "Time of a call from its submission to its end.",
        lambda mount: histogram(mount.calls.stats.total_times),
    ),
    Metric(
        "jaxfs_run_seconds",
        "histogram",
        "Time of a call in the engine, of those that ended well.",
        lambda mount: histogram(mount.calls.stats.run_times),
    ),
    Metric(
        "jaxfs_queued_calls",
        "gauge",
        "Calls that no engine has yet.",
        _one(lambda mount: mount.calls.admission.waiting),
    ),
    Metric(
        "jaxfs_program_errors_total",
        "counter",
        "Calls of a program that have ended with an error.",
        _programs(lambda program: program.stats.errors),
    ),
    Metric(
        "jaxfs_program_call_seconds",
        "summary",
        "Calls of a program, from submission to the end.",
        _times(lambda program: program.stats.total_usec),
    ),
    Metric(
        "jaxfs_program_run_seconds",
        "summary",
        "Calls of a program, in the engine.",
        _times(lambda program: program.stats.run_usec),
    ),
    Metric(
        "jaxfs_job_seconds",
        "histogram",
        "Jobs for programs: trace (read, transform, lower), compile, load, draw.",
        _job_times,
    ),
    Metric(
        "jaxfs_job_errors_total",
        "counter",
        "Jobs for programs that have ended with an error.",
        _job_errors,
    ),
    Metric(
        "jaxfs_running_jobs",
        "gauge",
        "Jobs for programs under way, or waiting for their turn.",
        _one(lambda mount: len(mount.programs.jobs.under_way)),
    ),
    Metric(
        "jaxfs_errors_total",
        "counter",
        "Errors that users met, by errno; error_log has the last ones.",
        _errors,
    ),
    Metric(
        "jaxfs_internal_errors_total",
        "counter",
        "Requests answered with EIO for a fault of jaxfs itself; the log has each.",
        _one(lambda mount: mount.internal_errors),
    ),
    Metric(
        "jaxfs_result_bytes",
        "gauge",
        "Memory of results that were not removed.",
        _one(lambda mount: mount.calls.admission.quotas.result_bytes),
    ),
    Metric(
        "jaxfs_result_limit_bytes",
        "gauge",
        "The most that all results together may take.",
        _one(lambda mount: mount.calls.admission.quotas.limit_bytes),
    ),
    Metric(
        "jaxfs_shared_memory_bytes",
        "gauge",
        "Shared memory in use or kept for the next use.",
        _one(
            lambda mount: sum(
                pool.used_bytes + pool.free_bytes
                for pool in {engine.pool for engine in mount.engines.all()}
            )
        ),
    ),
    Metric(
        "jaxfs_device_memory_used_bytes",
        "gauge",
        "Memory in use on a device, where the platform reports it, when last read.",
        _memory("bytes_in_use"),
    ),
    Metric(
        "jaxfs_device_memory_limit_bytes",
        "gauge",
        "Memory of a device that may be used, where the platform reports it.",
        _memory("bytes_limit"),
    ),
    Metric(
        "jaxfs_programs",
        "gauge",
        "Programs, working or not.",
        _one(lambda mount: len(mount.programs)),
    ),
    Metric(
        "jaxfs_inodes",
        "gauge",
        "Files and directories the kernel remembers.",
        _one(lambda mount: mount.inodes),
    ),
    Metric(
        "jaxfs_waiters",
        "gauge",
        "Requests that wait, or may have to; the open of this file is one.",
        _one(lambda mount: mount.waiters),
    ),
)


def _read(mount: Mount, root: Mount, caller: Credentials) -> bytes:
    """Returns all metrics, without those of programs that the caller may not read."""
    hidden = set[str]()
    if not _sees_all(mount, caller):
        hidden = {p.path for p in _called(mount) if not caller.may_read(p.attr, p.attr.mode)}
    return "".join(
        family(
            metric.name,
            metric.kind,
            metric.help,
            [one for one in metric.samples(mount) if one.labels.get("program") not in hidden],
        )
        for metric in METRICS
    ).encode()


def _sees_all(mount: Mount, caller: Credentials) -> bool:
    return caller.uid in (0, mount.attr.uid)


async def _update_memory(mount: Mount) -> None:
    """Asks the engine for the devices' memory figures, where there may be some: CPUs have none."""
    if any(node.device.platform != "cpu" for node in mount.devices.values()):
        await mount.update_device_memory()


def _read_trace(mount: Mount, root: Mount, caller: Credentials) -> bytes:
    return mount.timeline.text(None if _sees_all(mount, caller) else caller.uid)


SPECS: tuple[NodeSpec, ...] = (
    FileSpec(
        "metrics",
        0o444,
        "Prometheus text",
        "counters, gauges and histograms for monitoring",
        read=_read,
        prepare=_update_memory,
    ),
    FileSpec(
        "trace",
        0o444,
        "Chrome trace JSON",
        "your last calls and compiles for ui.perfetto.dev: front, queue, upload, run, download",
        read=_read_trace,
    ),
)
