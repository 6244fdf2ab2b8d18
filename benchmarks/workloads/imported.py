"""Programs imported from StableHLO beside the functions they were lowered from.

Imports jax, so only a child process uses it: ``python -m benchmarks.workloads.imported FILE
ROUNDS`` writes the figures of ``imports`` to FILE.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import jax
import msgspec

from benchmarks.rounds import Comparison, Spread, compare
from benchmarks.workloads.imports import Import, Imports
from benchmarks.workloads.networks import DEEP, NETWORKS, Network
from jaxfs.stablehlo import import_module
from jaxfs.stablehlo.module.walk import operations

TURNS = 16  # of each way in a round
IMPORTS = 15  # a round
TOLERANCE = 1e-3  # of the largest element; the networks compute in f32


def gradient(network: Network, rounds: int) -> Comparison:
    """That of the import of a network's text, beside that of the network."""
    inputs = network.inputs()
    imported = import_module(jax.jit(network.loss).lower(*inputs).as_text())
    ours = jax.jit(jax.grad(lambda parameters, batch: imported(*parameters, batch)[0]))
    own = jax.jit(jax.grad(network.loss))
    _check(network.name, ours(*inputs), own(*inputs))
    return compare(
        f"{network.name}: {network.what}",
        lambda: jax.block_until_ready(ours(*inputs)),
        lambda: jax.block_until_ready(own(*inputs)),
        rounds=rounds,
        turns=TURNS,
    )


def _check(name: str, found: Any, expected: Any) -> None:
    for one, other in zip(found, expected, strict=True):
        error = abs(one - other).max() / abs(other).max()
        if not error < TOLERANCE:
            raise RuntimeError(f"{name}: the gradients differ by {error:.3g}")


def deep_import(network: Network, times: int) -> Import:
    """Text to module, module to jaxpr."""
    parameters, batch = network.inputs()
    text = jax.jit(network.loss).lower(parameters, batch).as_text()
    imported = import_module(text)
    return Import(
        f"{network.name}, {network.what}",
        sum(1 for _ in operations(imported.module.operation)),
        _times(lambda: import_module(text), times),
        _times(lambda: _traced(lambda p, x: imported(*p, x), parameters, batch), times),
        _times(
            lambda: _traced(
                lambda p, x: network.loss(p, x),  # noqa: PLW0108  # a new function for each trace
                parameters,
                batch,
            ),
            times,
        ),
    )


def _traced(function: Callable[..., Any], *inputs: Any) -> object:
    """``function`` is a new one each time: JAX would remember an old one's trace."""
    return jax.make_jaxpr(function)(*inputs)


def _times(run: Callable[[], object], times: int) -> Spread:
    found = []
    for _ in range(times):
        before = perf_counter()
        run()
        found.append(perf_counter() - before)
    return Spread.over(found)


def main(file: Path, rounds: int) -> None:
    """Measure and write."""
    gradients = tuple(gradient(network, rounds) for network in NETWORKS)
    file.write_bytes(msgspec.json.encode(Imports(gradients, deep_import(DEEP, rounds * IMPORTS))))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
