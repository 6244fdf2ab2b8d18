"""H1: the library calls that programs may make, with odd operands, under compute-sanitizer."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.config import environment
from benchmarks.gpu.outcomes import Found, Skip, Value
from benchmarks.gpu.plan import BY_NAME

PLACES = ("/usr/local/cuda/bin", "/usr/local/cuda/compute-sanitizer", "/opt/cuda/bin")
SUMMARY = re.compile(r"ERROR SUMMARY: (\d+) error")
MARGIN_S = 5.0
KINDS, SMALL_KINDS = 99, 1  # of matrices


def _sanitizer() -> str | None:
    path = ":".join(PLACES)
    return shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path=path)


async def library_calls(bench: Bench) -> Found:
    """Runs them in one process; without a GPU only the process itself is tried."""
    return _run(bench)


def _run(bench: Bench) -> Found:
    kinds, tool = SMALL_KINDS if bench.config.small else KINDS, _sanitizer()
    command = [sys.executable, "-m", "benchmarks.gpu.odd_operands", str(kinds)]
    if bench.config.platform != "cpu":
        if tool is None:
            raise Skip("compute-sanitizer is not installed")
        command = [tool, "--tool", "memcheck", "--target-processes", "all", *command]
    allocator = {"XLA_PYTHON_CLIENT_ALLOCATOR": "platform"}  # each array ends where its memory does
    child = subprocess.Popen(
        command,
        env={**environment(bench.config.platform), **allocator},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        output, _ = child.communicate(
            timeout=BY_NAME["H1"].limit_s * bench.config.patience - MARGIN_S
        )
        was_cut = False
    except subprocess.TimeoutExpired:
        child.terminate()  # the sanitizer sums up what it has seen
        output, was_cut = child.communicate()[0], True
    (bench.config.directory / "memcheck.txt").write_text(output)
    return _found(Path(command[0]).name, output, child.returncode, was_cut=was_cut)


def _found(tool: str, output: str, status: int, *, was_cut: bool) -> Found:
    ran = [row for row in output.splitlines() if row.startswith("ran ")]
    summary = SUMMARY.search(output)
    errors = int(summary[1]) if summary else None
    figures: dict[str, Value] = {
        "tool": tool,
        "calls": len(ran),
        "errors": errors,
        "cut": was_cut,
        "status": status,
    }
    has_tool = tool == "compute-sanitizer"
    return Found(bool(ran) and (errors == 0 if has_tool else status == 0), figures)


CHECKS = {"H1": library_calls}
