"""C7: a context that is broken for all, by a kernel that writes where it may not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from time import perf_counter

import numpy as np
import trio

from benchmarks.gpu import poisoned_worker
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.caller import Caller, first_output
from benchmarks.gpu.config import environment
from benchmarks.gpu.cuda_poison import KERNELS, has_driver
from benchmarks.gpu.executables import inputs_of
from benchmarks.gpu.outcomes import Found, Skip, Value
from jaxfs.engine.client import process
from jaxfs.engine.client.client import open_local_engine
from jaxfs.errors import JaxfsError
from jaxfs.ipc.shared_memory import Pool

WORDS_S = 25.0
CALL_S = 30.0
CALLS = 5  # after the context broke, before it has to be right again


async def words(bench: Bench) -> Found:
    """Records what plain JAX reports, or how its process ends; all kinds at the same time."""
    if bench.config.platform == "cpu" or not has_driver():
        raise Skip("there is no CUDA driver (libcuda.so.1)")
    started = {kind: _start(bench, kind) for kind in KERNELS}
    figures: dict[str, Value] = {}
    for kind, child in started.items():
        try:
            output, errors = child.communicate(timeout=WORDS_S)
        except subprocess.TimeoutExpired:
            child.kill()
            output, errors = child.communicate()
        for row in output.splitlines():
            if row.startswith("["):
                name, found = json.loads(row)
                figures[f"{kind}.{name}"] = found
        last = errors.strip().splitlines()[-1:] if child.returncode else []
        figures[f"{kind}.exit"] = " ".join([str(child.returncode), *last])[:300]
    is_broken = any("CUDA_ERROR" in str(figures.get(f"{kind}.driver")) for kind in KERNELS)
    return Found(is_broken, figures)


def _start(bench: Bench, kind: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.gpu.poisoned_context", kind],
        env=environment(bench.config.platform),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def engine_ends(bench: Bench) -> Found:
    """Breaks an engine's context: it ends, starts again, and the next call is right."""
    process.COMMAND = poisoned_worker.COMMAND  # of this process only
    pool = Pool()
    async with open_local_engine(bench.options(), pool) as engine:
        found = await _break_and_call(bench, Caller(engine))
    pool.close()
    return found


async def _break_and_call(bench: Bench, caller: Caller) -> Found:
    engine = caller.engine
    errors = [await _small_call(bench, caller)]
    first = engine.pid
    os.kill(first, poisoned_worker.SIGNAL)
    await trio.sleep(1.0)  # for a kernel to start and fail
    start = perf_counter()
    for _ in range(CALLS):
        errors.append(await _small_call(bench, caller))
        if not errors[-1] and engine.pid != first:
            break
    figures: dict[str, Value] = {
        "before": errors[0] or "right",
        "errors": " | ".join(filter(None, errors[1:]))[:600],
        "last": errors[-1] or "right",
        "restarts": engine.restarts,
        "s": perf_counter() - start,
        "quarantined": len(engine.quarantined),
    }
    met = not errors[-1] and engine.restarts > 0 and not engine.quarantined
    return Found(met, figures)


async def _small_call(bench: Bench, caller: Caller) -> str:
    """Returns why a small call is not right; empty if it is."""
    executable = bench.executable("small")
    (x,) = inputs_of(executable)
    try:
        outcome = await caller.run(executable, [x.tobytes()], wait_s=CALL_S)
    except (JaxfsError, trio.TooSlowError) as error:
        return f"{type(error).__name__}: {error}"
    return "" if np.array_equal(first_output(executable, outcome), x + x) else "wrong"


CHECKS = {"C7": words, "C7e": engine_ends}
