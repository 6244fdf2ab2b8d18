"""Coverage of packages, from the file that ``coverage json`` writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypedDict

from docs.tools.style.measured import Measured, percent


class _Summary(TypedDict):
    """The counts of one file that are used here; coverage.py writes more."""

    num_branches: int
    covered_branches: int
    num_statements: int
    covered_lines: int


class _FileReport(TypedDict):
    summary: _Summary
    missing_branches: list[list[int]]


class CoverageReport(TypedDict):
    """What is used of a report: the files by path, relative to the project's root."""

    files: dict[str, _FileReport]


def read_report(path: Path) -> CoverageReport:
    """Returns a report; raises ``ValueError`` if it was written without ``--branch``."""
    report: CoverageReport = json.loads(path.read_text())
    if not all("num_branches" in found["summary"] for found in report["files"].values()):
        raise ValueError(f"{path} has no branches: measure with `branch = true`")
    return report


def branch_coverage(report: CoverageReport, folder: str) -> Measured:
    """Returns the share of the branches below a folder that were taken, in percent."""
    found = _reports_below(report, folder)
    taken = sum(one["summary"]["covered_branches"] for one in found.values())
    branches = sum(one["summary"]["num_branches"] for one in found.values())
    missing = {path: len(one["missing_branches"]) for path, one in found.items()}
    worst = sorted((path for path in missing if missing[path]), key=lambda path: -missing[path])
    return percent(taken, branches, [f"{path}: {missing[path]} branches" for path in worst])


def line_coverage(report: CoverageReport, folder: str) -> Measured:
    """Returns the share of the statements below a folder that were executed, in percent."""
    summaries = [one["summary"] for one in _reports_below(report, folder).values()]
    executed = sum(summary["covered_lines"] for summary in summaries)
    return percent(executed, sum(summary["num_statements"] for summary in summaries), [])


def _reports_below(report: CoverageReport, folder: str) -> dict[str, _FileReport]:
    return {path: found for path, found in report["files"].items() if path.startswith(f"{folder}/")}
