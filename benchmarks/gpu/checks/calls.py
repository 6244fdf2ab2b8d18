"""B0 to B7: calls of an engine beside plain JAX; those of a training loop are in ``training``."""

from __future__ import annotations

from time import perf_counter

import numpy as np

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.caller import Caller, first_output
from benchmarks.gpu.checks import training
from benchmarks.gpu.executables import inputs_of
from benchmarks.gpu.outcomes import Found, Skip, Value
from jaxfs.engine.interface import Executable
from jaxfs.errors import JaxfsError

LINALG = ("cholesky", "eigh", "svd", "solve")
NAMES = ("small", "mm_scalar", "mm_big", "h2d", "d2h", "step", "sort", "fft", *LINALG, "cond")
ERROR, BF16_ERROR = 1e-3, 2e-2
FLOOR_S = 40e-6
GB = 1e9


async def every_program(bench: Bench) -> Found:
    """Compares the outputs of all programs; one that fails does not keep the others away."""
    figures: dict[str, Value] = {}
    met, load_s, plain_s = True, 0.0, 0.0
    for name in NAMES:
        start = perf_counter()
        try:
            executable = await bench.loaded(name)
            load_s += perf_counter() - start
            plain_s += float(bench.plain_figures().get(f"{name}.compile_s") or 0)
            error = await _error(bench, name, executable)
        except (JaxfsError, Skip, TimeoutError) as failure:
            met, figures[name] = False, f"{type(failure).__name__}: {failure}"[:150]
            continue
        figures[name] = error
        met = met and error < (BF16_ERROR if name.startswith("mm") else ERROR)
    return Found(met, {"load_s": load_s, "plain_compile_s": plain_s, **figures})


async def _error(bench: Bench, name: str, executable: Executable) -> float:
    """Returns the largest difference from plain JAX's output, relative to its largest element."""
    caller = await bench.caller()
    path = bench.config.directory / f"{name}.npy"
    if not path.exists():
        raise Skip("plain JAX has no output")
    places = caller.place(inputs_of(executable))
    try:
        found = first_output(executable, await caller.run(executable, places))
    finally:
        caller.forget(places)
    wanted = np.load(path)
    difference = np.abs(found.astype(wanted.dtype) - wanted).max()
    return float(difference / (np.abs(wanted).max() + 1e-30))


async def small_call(bench: Bench) -> Found:
    """A small call, as one after another through an open file."""
    executable, caller = await bench.loaded("small"), await bench.caller()
    plain_s = bench.plain("small.host_s")
    took_s = await caller.median_s(
        executable, [inputs_of(executable)[0].tobytes()], bench.sizes.calls
    )
    met = took_s <= max(1.5 * plain_s, plain_s + FLOOR_S)
    return Found(met, {"us": took_s * 1e6, "plain_us": plain_s * 1e6, "ratio": took_s / plain_s})


async def _call_s(bench: Bench, name: str, producer: int) -> tuple[float, Caller]:
    """Returns how long a call takes, its inputs named by a producer or, where it is 0, not."""
    executable, caller = await bench.loaded(name), await bench.caller()
    places = caller.place(inputs_of(executable), producer)
    try:
        await caller.seconds(executable, places)
        took_s = await caller.median_s(executable, places, bench.sizes.repeats)
    finally:
        caller.forget(places, *([producer] if producer else []))
    return took_s, caller


async def product_scalar(bench: Bench) -> Found:
    """A product of matrices that are on the device; one number comes back."""
    plain_s = bench.plain("mm_scalar.device_s")
    named_s, _ = await _call_s(bench, "mm_scalar", 1)
    unnamed_s, _ = await _call_s(bench, "mm_scalar", 0)
    figures = {"ms": named_s * 1e3, "plain_ms": plain_s * 1e3, "ratio": named_s / plain_s}
    return Found(named_s <= 1.15 * plain_s, {**figures, "unnamed_ms": unnamed_s * 1e3})


async def product_large(bench: Bench) -> Found:
    """The same; the product comes back."""
    device_s, host_s = bench.plain("mm_big.device_s"), bench.plain("mm_big.host_s")
    named_s, _ = await _call_s(bench, "mm_big", 2)
    return Found(
        named_s <= 1.2 * device_s,
        {
            "ms": named_s * 1e3,
            "plain_device_ms": device_s * 1e3,
            "plain_host_ms": host_s * 1e3,
            "ratio_device": named_s / device_s,
            "ratio_host": named_s / host_s,
        },
    )


async def from_device(bench: Bench) -> Found:
    """A large array comes back."""
    plain_s, nbytes = bench.plain("d2h.host_s"), bench.sizes.large * 4
    took_s, _ = await _call_s(bench, "d2h", 0)
    figures: dict[str, Value] = {
        "ms": took_s * 1e3,
        "plain_ms": plain_s * 1e3,
        "ratio": took_s / plain_s,
        "gb_per_s": nbytes / took_s / GB,
        "plain_gb_per_s": nbytes / plain_s / GB,
    }
    pinned_s = bench.plain_figures().get("pinned_d2h_s")
    if isinstance(pinned_s, float):
        figures["pinned_gb_per_s"] = nbytes / pinned_s / GB
    return Found(nbytes / took_s >= 20 * GB, figures)


async def to_device(bench: Bench) -> Found:
    """A large array is sent, with each call and only once."""
    host_s, device_s = bench.plain("h2d.host_s"), bench.plain("h2d.device_s")
    unnamed_s, caller = await _call_s(bench, "h2d", 0)
    named_s, _ = await _call_s(bench, "h2d", 3)
    nbytes = bench.sizes.large * 4
    figures: dict[str, Value] = {
        "unnamed_ms": unnamed_s * 1e3,
        "plain_ms": host_s * 1e3,
        "ratio": unnamed_s / host_s,
        "gb_per_s": nbytes / unnamed_s / GB,
        "named_us": named_s * 1e6,
        "plain_device_us": device_s * 1e6,
    }
    for name in ("pageable_h2d_s", "dma_map_s", "mapped_h2d_s", "dma_map_error"):
        figures[name] = bench.plain_figures().get(name)
    figures["engine_restarts"] = caller.engine.restarts
    is_named_quick = named_s <= max(1.2 * device_s, device_s + FLOOR_S)
    return Found(unnamed_s <= 1.2 * host_s and is_named_quick, figures)


CHECKS = {
    "B0": every_program,
    "B1": small_call,
    "B2": product_scalar,
    "B3": product_large,
    "B4": from_device,
    "B5": to_device,
    **training.CHECKS,
}
