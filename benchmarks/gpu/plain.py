"""The figures of JAX without jaxfs, on the same card: the other side of every ratio."""

from __future__ import annotations

import ctypes
import mmap
import os
import statistics
from collections.abc import Callable, Mapping
from functools import partial
from time import perf_counter
from typing import Any

import jax
import msgspec
import numpy as np
from jaxlib import xla_client

from benchmarks.gpu.arrays import random_arrays
from benchmarks.gpu.caller import COMPARED
from benchmarks.gpu.config import Config
from benchmarks.gpu.outcomes import Value
from benchmarks.gpu.programs import CHECKED, Program, programs

BUDGET_S = 3.0
TIMED = ("small", "mm_scalar", "mm_big", "h2d", "d2h", "step")  # of these a check takes the time


def median_s(call: Callable[[], object], count: int, budget_s: float = BUDGET_S) -> float:
    """Returns the median of ``count`` calls, or of those that end within ``budget_s``."""
    end, times = perf_counter() + budget_s, list[float]()
    while len(times) < count and (perf_counter() < end or not times):
        start = perf_counter()
        call()
        times.append(perf_counter() - start)
    return statistics.median(times)


class Plain:
    """Measures plain JAX, jitted; each figure is written as soon as it is known.

    Attributes:
        figures: Seconds by ``<program>.<what>``; words where something cannot be measured.
    """

    def __init__(self, config: Config) -> None:
        jax_config: Any = jax.config  # its methods are not annotated
        jax_config.update("jax_enable_x64", True)
        self._config = config
        self._sizes = config.sizes
        self.figures: dict[str, Value] = {}

    def measure(self) -> None:
        """Measures everything, what ratios need first."""
        found = programs(self._sizes)
        device = jax.devices()[0]
        self._add(device=str(device), kind=device.device_kind)
        self._add(first_s=median_s(lambda: jax.jit(lambda x: x + 1)(1.0).block_until_ready(), 1))
        self._write_target_config()
        measures = {
            name: partial(self._program, name, found[name]) for name in list(found)[:CHECKED]
        }
        timed = {name: measures.pop(name) for name in TIMED}
        self._attempt_all(timed)
        self._attempt_all(
            {
                "train": lambda: self._train(found["step_donated"]),
                "pinned_d2h": self._pinned,
                "dma_map": self._mapped,
            }
        )
        self._attempt_all(measures)
        memory = device.memory_stats() or {}
        self._add(
            bytes_limit=memory.get("bytes_limit", 0), peak_bytes=memory.get("peak_bytes_in_use", 0)
        )

    def _add(self, **figures: Value) -> None:
        self.figures |= figures
        self._config.plain_path.write_bytes(msgspec.json.encode(self.figures))

    def _attempt_all(self, measures: Mapping[str, Callable[[], None]]) -> None:
        for name, measure in measures.items():
            try:
                measure()
            except Exception as error:
                self._add(**{f"{name}_error": f"{type(error).__name__}: {error}"[:200]})

    def _program(self, name: str, program: Program) -> None:
        jitted, inputs = program.jitted, random_arrays(program.kinds)
        compile_s = median_s(lambda: jax.block_until_ready(jitted(*inputs)), 1)
        count = self._sizes.calls // 2 if name == "small" else self._sizes.repeats // 2 + 1
        host_s = median_s(lambda: np.asarray(jitted(*inputs)).ravel()[:1], count)
        there = jax.block_until_ready(jax.device_put(inputs))
        device_s = median_s(lambda: jax.block_until_ready(jitted(*there)), count)
        figures: dict[str, Value] = {"compile_s": compile_s, "host_s": host_s, "device_s": device_s}
        self._add(**{f"{name}.{key}": value for key, value in figures.items()})
        output = np.asarray(jitted(*inputs)).ravel()[:COMPARED]
        wide = np.complex128 if output.dtype.kind == "c" else np.float64
        np.save(self._config.directory / f"{name}.npy", output.astype(wide))

    def _train(self, program: Program) -> None:
        step = program.jitted
        weights = step(jax.device_put(random_arrays(program.kinds)[0])).block_until_ready()
        steps = self._sizes.steps
        for _ in range(2):  # the second counts
            start = perf_counter()
            for _ in range(steps):
                weights = step(weights)
            weights.block_until_ready()
        self._add(**{"train.step_s": (perf_counter() - start) / steps})

    def _pinned(self) -> None:
        """From the device by the road without pageable memory."""
        large = jax.device_put(np.zeros(self._sizes.large, np.float32)).block_until_ready()
        pinned: Any = large.sharding.with_memory_kind("pinned_host")

        def copied_s() -> float:
            fresh = jax.block_until_ready(large + 0)
            start = perf_counter()
            np.asarray(jax.device_put(fresh, pinned).block_until_ready())
            return perf_counter() - start

        self._add(pinned_d2h_s=statistics.median(copied_s() for _ in range(5)))

    def _mapped(self) -> None:
        """To the device from a memfd, as it is and registered with the driver."""
        nbytes = self._sizes.large * 4
        fd = os.memfd_create("benchmark")
        os.ftruncate(fd, nbytes)
        array = np.frombuffer(mmap.mmap(fd, nbytes), np.float32)
        os.close(fd)
        array[:] = 1
        self._put_mapped(array)

    def _put_mapped(self, array: np.ndarray[Any, Any]) -> None:
        client: Any = jax.devices()[0].client
        address = ctypes.c_void_p(array.ctypes.data).value
        self._add(pageable_h2d_s=median_s(lambda: jax.device_put(array).block_until_ready(), 5))
        start = perf_counter()
        client.dma_map(address, array.nbytes)
        self._add(dma_map_s=perf_counter() - start)
        try:
            self._add(mapped_h2d_s=median_s(lambda: jax.device_put(array).block_until_ready(), 5))
        finally:
            client.dma_unmap(address)

    def _write_target_config(self) -> None:
        """What XLA needs to compile for this card in a process without it."""
        topology: Any = xla_client
        try:
            text = topology.get_topology_for_devices(jax.devices()).target_config
            self._config.target_config_path.write_text(text)
        except Exception as error:  # platforms without one raise different exceptions
            self._add(target_config_error=f"{type(error).__name__}: {error}"[:200])
