"""A1: an engine starts by every name of its platform."""

from __future__ import annotations

from time import perf_counter

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.outcomes import Found, Value, first_cause
from jaxfs.engine.client.client import open_local_engine
from jaxfs.engine.protocol import Device, EngineOptions
from jaxfs.ipc.shared_memory import Pool

NAMES = {"cuda": ("", "cuda", "gpu")}
LIMIT_S = 8.0


async def _start(name: str) -> tuple[float, Device]:
    pool, began = Pool(), perf_counter()
    async with open_local_engine(EngineOptions(platform=name), pool) as engine:
        took, device = perf_counter() - began, engine.devices()[0]
    pool.close()
    return took, device


async def every_name(bench: Bench) -> Found:
    """Starts an engine by each name, and records what its device is."""
    figures: dict[str, Value] = {}
    slowest, all_started = 0.0, True
    for name in NAMES.get(bench.config.platform, ("", bench.config.platform)):
        label = name or "default"
        try:
            took, device = await _start(name)
        except Exception as error:  # in a group of the engine's nursery
            all_started = False
            figures[f"{label}_error"] = first_cause(error)[:200]
            continue
        slowest = max(slowest, took)
        figures |= {f"{label}_s": took, f"{label}_device": device.name, "kind": device.kind}
        figures["attributes"] = " ".join(
            f"{key}={value}" for key, value in sorted(device.attributes.items())
        )[:400]
    return Found(all_started and slowest <= LIMIT_S, figures)


CHECKS = {"A1": every_name}
