"""A process that runs checks, one after another: ``python -m benchmarks.gpu.process``.

Its arguments are a descriptor for its messages, the configuration as JSON, the module of the
checks, and their names.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Mapping
from time import perf_counter

import msgspec
import trio

from benchmarks.gpu.bench import Bench, Check
from benchmarks.gpu.config import Config
from benchmarks.gpu.outcomes import Begin, Line, Outcome, Skip, Verdict, encode, first_cause

REASON_CHARACTERS = 1000


def main(fd: int, config: Config, module: str, names: list[str]) -> None:
    """Runs checks and writes a line when each begins and ends."""
    os.set_inheritable(fd, False)
    checks = importlib.import_module(f"benchmarks.gpu.checks.{module}").CHECKS
    trio.run(_run_all, fd, config, checks, names)


async def _run_all(fd: int, config: Config, checks: Mapping[str, Check], names: list[str]) -> None:
    bench = Bench(config)
    for name in names:
        _send(fd, Begin(name))
        outcome = await run_one(bench, name, checks[name])
        _send(fd, outcome)
        if outcome.verdict == "failed":  # its engine may be in any state
            await bench.reset()
    await bench.reset()


async def run_one(bench: Bench, name: str, check: Check) -> Outcome:
    """Runs one check, which may raise anything."""
    start = perf_counter()
    try:
        found = await check(bench)
    except Skip as error:
        return Outcome(name, "skipped", reason=str(error))
    except Exception as error:
        traceback.print_exc()
        reason = first_cause(error)[:REASON_CHARACTERS]
        return Outcome(name, "failed", reason=reason, seconds=perf_counter() - start)
    verdict: Verdict = "ok" if found.met else "missed"
    return Outcome(name, verdict, dict(found.figures), seconds=perf_counter() - start)


def _send(fd: int, message: Line) -> None:
    os.write(fd, encode(message))


if __name__ == "__main__":
    main(int(sys.argv[1]), msgspec.json.decode(sys.argv[2], type=Config), sys.argv[3], sys.argv[4:])
