"""P2: plain JAX, with the device to itself."""

from __future__ import annotations

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.outcomes import Found
from benchmarks.gpu.plain import Plain


async def measure(bench: Bench) -> Found:
    """Measures all figures; each is in the file as soon as it is known."""
    plain = Plain(bench.config)
    plain.measure()
    words = {name: value for name, value in plain.figures.items() if not name.endswith("compile_s")}
    return Found(True, words)


CHECKS = {"P2": measure}
