"""P1: the programs become artifacts, in a process with JAX on the CPU."""

from __future__ import annotations

from time import perf_counter

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.executables import write_executable
from benchmarks.gpu.lowering import lower
from benchmarks.gpu.outcomes import Found, Value
from benchmarks.gpu.programs import programs


async def lower_all(bench: Bench) -> Found:
    """Lowers every program; one that fails is left out."""
    start, failed = perf_counter(), dict[str, Value]()
    found = programs(bench.sizes)
    for name, program in found.items():
        try:
            data, signature = lower(program, bench.config.platform)
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {error}"[:200]
            continue
        write_executable(bench.config.directory, name, data, signature)
    return Found(
        not failed, {"programs": len(found) - len(failed), "s": perf_counter() - start, **failed}
    )


CHECKS = {"P1": lower_all}
