"""G1: the tests that need a GPU."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.config import environment
from benchmarks.gpu.outcomes import Found, Skip, Value
from benchmarks.processes import ROOT

LIMIT_S = 85.0
SOME = ("-k", "several or scalars or library_calls or makes_room")  # to try the tests themselves
CLOSING = re.compile(r"(\d+) (passed|failed|skipped|errors?)")


async def run_pytest(bench: Bench) -> Found:
    """Runs ``pytest -m gpu``, with the platform of this run."""
    return _run(bench)


def _run(bench: Bench) -> Found:
    if find_spec("pytest") is None:
        raise Skip("pytest is not installed")
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider"]
    tests = {"JAXFS_GPU": "1", "JAXFS_TEST_PLATFORM": bench.config.platform}
    done = subprocess.run(
        [*command, *(SOME if bench.config.small else ()), "tests/gpu"],
        cwd=ROOT,
        env={**environment(""), **tests, "TMPDIR": os.environ.get("TMPDIR", "/tmp")},
        capture_output=True,
        text=True,
        timeout=LIMIT_S * bench.config.patience,
        check=False,
    )
    rows = done.stdout.strip().splitlines()
    figures: dict[str, Value] = (
        {word: int(count) for count, word in CLOSING.findall(rows[-1])} if rows else {}
    )
    failed = [row for row in rows if row.startswith(("FAILED", "ERROR"))]
    print(done.stdout, done.stderr)  # to the log
    if done.returncode:
        figures["first"] = (failed or [done.stderr.strip()])[0][:300]
    return Found(done.returncode == 0 and bool(figures.get("passed")), figures)


CHECKS = {"G1": run_pytest}
