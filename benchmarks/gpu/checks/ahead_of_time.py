"""D1 to D4: programs compiled in a process without the card, and loaded by an engine."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import jax
import msgspec
import numpy as np
from jax.experimental import topologies

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.caller import first_output
from benchmarks.gpu.checks.calls import BF16_ERROR
from benchmarks.gpu.config import Config
from benchmarks.gpu.executables import inputs_of, read_executable, write_executable
from benchmarks.gpu.outcomes import Found, Skip, Value
from jaxfs.errors import JaxfsError
from jaxfs.jaxcompat import executables

NAMES = ("small", "mm_big", "step", "cholesky")
H100 = Path(__file__).parents[1] / "h100.txtpb"
PLUGINS = (
    "jax_cuda13_plugin",
    "jax_cuda12_plugin",
    "jax_plugins.xla_cuda13",
    "jax_plugins.xla_cuda12",
)
AUTOTUNING_GAIN = 1.1


def _has_plugin() -> bool:
    def is_there(name: str) -> bool:
        try:
            return find_spec(name) is not None
        except ModuleNotFoundError:
            return False

    return any(map(is_there, PLUGINS))


def _target(config: Config) -> Path:
    return config.target_config_path if config.target_config_path.exists() else H100


def _devices(config: Config, target: Path) -> Sequence[jax.Device]:
    """Returns devices to compile for; none of them is opened."""
    if config.platform == "cpu":
        return executables.use_cpu(1)
    text = target.read_text()
    topology = topologies.get_topology_desc("card", "cuda", target_config=text, topology="1x1x1")
    return list(topology.devices)


def _compile(config: Config, devices: Sequence[jax.Device], name: str, ending: str) -> Value:
    """Compiles one program, writes it as ``name.ending`` and returns what happened, in words."""
    source = read_executable(config.directory, name)
    start = perf_counter()
    try:
        data = Path(source.path).read_bytes()
        made = executables.compile_artifact(data, source.signature, devices)
        found = executables.serialize(made)
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:200]
    took_s = perf_counter() - start
    write_executable(config.directory, f"{name}.{ending}", found, source.signature, serialized=True)
    return took_s


async def compile_here(bench: Bench) -> Found:
    """Compiles for this card, by the description that plain JAX found."""
    jax_config: Any = jax.config
    jax_config.update("jax_enable_x64", True)
    target = _target(bench.config)
    figures: dict[str, Value] = {"target": "h100.txtpb" if target == H100 else "this card"}
    devices = _devices(bench.config, target)
    figures |= {f"{name}_s": _compile(bench.config, devices, name, "ahead") for name in NAMES}
    return Found(not any(isinstance(figures[f"{name}_s"], str) for name in NAMES), figures)


async def load_here(bench: Bench) -> Found:
    """The engine loads what was compiled so; the results are those of plain JAX."""
    return await _load(bench, "ahead")


async def _load(bench: Bench, ending: str) -> Found:
    caller, figures, met = await bench.caller(), dict[str, Value](), True
    for name in NAMES:
        try:
            executable = await bench.loaded(f"{name}.{ending}")
            places = caller.place(inputs_of(executable))
            found = first_output(executable, await caller.run(executable, places))
            caller.forget(places)
        except (JaxfsError, Skip) as error:
            met, figures[name] = False, f"{type(error).__name__}: {error}"[:200]
            continue
        wanted = np.load(bench.config.directory / f"{name}.npy")
        error_ = float(np.abs(found.astype(wanted.dtype) - wanted).max() / np.abs(wanted).max())
        figures[name], met = error_, met and error_ < BF16_ERROR
    return Found(met, figures)


async def autotuning_gain(bench: Bench) -> Found:
    """How much slower a product is that was compiled without measuring kernels on the card."""
    caller, took_us = await bench.caller(), dict[str, float]()
    for name in ("mm_scalar", "mm_big"):
        if name == "mm_scalar":
            devices = _devices(bench.config, _target(bench.config))
            _compile(bench.config, devices, name, "ahead")
        for label, key in (("ahead", f"{name}.ahead"), ("tuned", name)):
            executable = await bench.loaded(key)
            places = caller.place(inputs_of(executable), 900)
            took_us[f"{name}_{label}_us"] = await _run_usec(bench, key, places)
            caller.forget(places, 900)
    ratio = took_us["mm_scalar_ahead_us"] / max(1.0, took_us["mm_scalar_tuned_us"])
    return Found(ratio <= AUTOTUNING_GAIN, {"ratio": ratio, **took_us})


async def _run_usec(bench: Bench, key: str, places: Sequence[Any]) -> float:
    caller, executable = await bench.caller(), bench.executable(key)
    times = []
    for _ in range(bench.sizes.repeats + 1):
        outcome = await caller.run(executable, places)
        times.append(outcome.run_usec)
        first_output(executable, outcome)
    return float(np.median(times[1:]))


async def carried(bench: Bench) -> Found:
    """The engine loads what was compiled for the H100 of ``h100.txtpb``."""
    if not _has_plugin():
        raise Skip("JAX's CUDA plugin is not installed")
    devices = _devices(msgspec.structs.replace(bench.config, platform="cuda"), H100)
    made = {f"{name}_s": _compile(bench.config, devices, name, "carried") for name in NAMES}
    if bench.config.platform == "cpu":
        return Found(True, made)
    found = await _load(bench, "carried")
    return Found(True, {**made, **found.figures})


CHECKS = {"D1": compile_here, "D2": load_here, "D3": autotuning_gain, "D4": carried}
