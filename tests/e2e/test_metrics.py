"""``metrics``, read by Prometheus' own parsers."""

from __future__ import annotations

import os
import re

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_strictly
from prometheus_client.parser import text_string_to_metric_families as read

from jaxfs.programs.stats import BOUNDS_USEC
from jaxfs.vfs.files.metrics import METRICS
from jaxfs.vfs.monitoring.prometheus import Sample, family
from tests.conftest import SAXPY, Mount

UNITS = re.compile(r"_(total|seconds|bytes|info)$")
COUNTS = {
    "jaxfs_engines",
    "jaxfs_separated_users",
    "jaxfs_programs",
    "jaxfs_inodes",
    "jaxfs_waiters",
    "jaxfs_queued_calls",
    "jaxfs_running_jobs",
}


def families(mount: Mount) -> dict[str, Metric]:
    return {found.name: found for found in read((mount.path / "metrics").read_text())}


def value(mount: Mount, name: str, **labels: str) -> float:
    """Of one sample; 0 where there is none yet."""
    samples = [sample for found in families(mount).values() for sample in found.samples]
    found = (sample.value for sample in samples if (sample.name, sample.labels) == (name, labels))
    return next(found, 0.0)


def as_openmetrics(text: str) -> str:
    """The same text in the stricter format: a counter's family has no ``_total`` there."""
    return re.sub(r"(?m)^# (HELP|TYPE) (\w+)_total ", r"# \1 \2 ", text) + "# EOF\n"


def call(mount: Mount, name: str, *, well: bool = True) -> None:
    values = "[1,1,1,1] [0,0,0,0]" if well else "[1,1]"
    mount.sh(f"echo '{values}' > programs/saxpy/calls/{name}; cat results/{name}.json", check=well)


def test_metrics_are_read_by_prometheus(mount: Mount) -> None:
    mount.add("saxpy.mlir", SAXPY)
    call(mount, "a")
    call(mount, "bad", well=False)
    text = (mount.path / "metrics").read_text()
    assert {f.name + "_total" * (f.type == "counter") for f in read(text)} <= {
        metric.name for metric in METRICS
    }
    for found in read_strictly(as_openmetrics(text)):
        assert found.documentation, found.name
        assert found.samples, found.name
        assert found.type != "unknown", found.name


def test_names_of_metrics_tell_units(mount: Mount) -> None:
    for metric in METRICS:
        assert UNITS.search(metric.name) or metric.name in COUNTS, metric.name
        assert metric.name.endswith("_total") == (metric.kind == "counter")


def test_histogram_of_calls_counts_each_once(mount: Mount) -> None:
    mount.add("saxpy.mlir", SAXPY)
    before = value(mount, "jaxfs_calls_total")
    for name in "abc":
        call(mount, name)
    found = families(mount)
    assert value(mount, "jaxfs_calls_total") == before + 3
    for name in ("jaxfs_call_seconds", "jaxfs_run_seconds"):
        assert found[name].type == "histogram"
        buckets = [s.value for s in found[name].samples if s.name.endswith("_bucket")]
        assert len(buckets) == len(BOUNDS_USEC) + 1
        assert buckets == sorted(buckets)
        assert buckets[-1] == value(mount, f"{name}_count")
    assert value(mount, "jaxfs_call_seconds_count") == value(mount, "jaxfs_calls_total")
    in_all, in_engine = (value(mount, f"jaxfs_{kind}_seconds_sum") for kind in ("call", "run"))
    assert in_all > in_engine > 0


def test_metrics_tell_programs_apart(mount: Mount) -> None:
    mount.add("saxpy.mlir", SAXPY)
    mount.sh(
        "echo '[1,1,1,1] [0,0,0,0]' | tee programs/saxpy/calls/{1,2} > /dev/null;"
        "echo '[1,1,1,1] [0,0,0,0]' | tee transformations/jit/saxpy/calls/{3,4,5} > /dev/null;"
        "cat results/{1,2,3,4,5}.json"
    )
    for path, count in (("programs/saxpy", 2), ("transformations/jit/saxpy", 3)):
        assert value(mount, "jaxfs_program_call_seconds_count", program=path) == count
        assert value(mount, "jaxfs_program_errors_total", program=path) == 0


def test_compiles_are_counted_with_their_times_and_errors(mount: Mount) -> None:
    def counts() -> list[float]:
        ended = [value(mount, "jaxfs_job_seconds_count", job=job) for job in ("trace", "compile")]
        return [*ended, value(mount, "jaxfs_job_errors_total", job="trace", errno="EINVAL")]

    before = counts()
    mount.add("saxpy.mlir", f"{SAXPY}// {os.urandom(8).hex()}\n")
    with pytest.raises(OSError):
        mount.add("bad.mlir", f"not a program {os.urandom(8).hex()}")
    assert [now - then for now, then in zip(counts(), before, strict=True)] == [2, 1, 1]
    assert value(mount, "jaxfs_running_jobs") == 0


def test_errors_are_counted_by_errno(mount: Mount) -> None:
    before = value(mount, "jaxfs_errors_total", errno="EINVAL")
    mount.add("saxpy.mlir", SAXPY)
    call(mount, "bad", well=False)
    assert value(mount, "jaxfs_errors_total", errno="EINVAL") == before + 1


def test_any_text_can_be_a_label() -> None:
    words = 'a "quoted" back\\slash,\nnext={line}'
    text = family("some_value", "gauge", "Two\nlines \\ here.", [Sample(1.5, {"name": words})])
    (found,) = read(text)
    assert found.documentation == "Two\nlines \\ here."
    assert [(s.labels, s.value) for s in found.samples] == [({"name": words}, 1.5)]
