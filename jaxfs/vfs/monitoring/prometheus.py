"""Prometheus' text exposition format, version 0.0.4.

https://prometheus.io/docs/instrumenting/exposition_formats/.  The library prometheus_client is not
used: it keeps the figures itself, while here each is kept where it arises, and formatted on demand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Literal, NamedTuple

from jaxfs.programs.stats import BOUNDS_USEC, Histogram

Kind = Literal["counter", "gauge", "histogram", "summary"]
_IN_LABEL = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_IN_HELP = str.maketrans({"\\": r"\\", "\n": r"\n"})
SECOND_USEC = 1_000_000


class Sample(NamedTuple):
    """One line of a metric family.

    Attributes:
        value: The value.
        labels: The labels by name.
        suffix: Follows the name of the family, as in ``_count``.
    """

    value: float
    labels: Mapping[str, str] = {}
    suffix: str = ""


def family(name: str, kind: Kind, text: str, samples: Iterable[Sample]) -> str:
    r"""Returns the lines of a metric family, none if it has no samples.

    Args:
        name: The name, without the suffixes of samples.
        kind: The type.
        text: The help.
        samples: The values.

    >>> print(family("jaxfs_programs", "gauge", "Programs.", [Sample(2)]), end="")
    # HELP jaxfs_programs Programs.
    # TYPE jaxfs_programs gauge
    jaxfs_programs 2
    """
    rows = "".join(
        f"{name}{sample.suffix}{_labels(sample.labels)} {sample.value}\n" for sample in samples
    )
    head = f"# HELP {name} {text.translate(_IN_HELP)}\n# TYPE {name} {kind}\n"
    return head + rows if rows else ""


def _labels(labels: Mapping[str, str]) -> str:
    r"""Returns the labels of a sample in Prometheus' text format; empty if there are none.

    >>> _labels({"program": "programs/f", "path": 'a"b'}), _labels({})
    ('{program="programs/f",path="a\\"b"}', '')
    """
    pairs = [f'{name}="{value.translate(_IN_LABEL)}"' for name, value in labels.items()]
    return "{" + ",".join(pairs) + "}" if pairs else ""


def histogram(times: Histogram, labels: Mapping[str, str] | None = None) -> Iterable[Sample]:
    """Returns cumulative buckets of times in seconds, their sum and their count."""
    own = labels or {}
    bounds = [str(bound / SECOND_USEC) for bound in BOUNDS_USEC]
    cumulative = list(accumulate(times.counts))
    for bound, count in zip([*bounds, "+Inf"], cumulative, strict=True):
        yield Sample(count, {**own, "le": bound}, "_bucket")
    yield Sample(times.sum_usec / SECOND_USEC, own, "_sum")
    yield Sample(cumulative[-1], own, "_count")
