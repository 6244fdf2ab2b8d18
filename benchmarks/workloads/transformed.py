"""Calls of transformed programs beside calls of plain ones that compute the same.

The plain program is the transformed one's own ``stablehlo.mlir``, copied into ``programs/``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from math import prod
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.peers import Jaxfs
from benchmarks.plan import SMALL
from benchmarks.rounds import Comparison, compare
from benchmarks.transports import OpenFile

ITEM_BYTES = 4  # all is f32


@dataclass(frozen=True)
class Transformed:
    """A path below ``transformations/``, of a program that is installed by its name."""

    program: str
    steps: str
    turns: int  # in a round


ROWS = (
    Transformed(f"affine_{SMALL}", "vmap:axis_size=4", turns=500),
    Transformed("scan-RNN", "grad:argnums=0,1,2", turns=16),
)


def measure(jaxfs: Jaxfs, rounds: int) -> tuple[Comparison, ...]:
    """A comparison a row.  Raises OSError, EOFError, RuntimeError."""
    jaxfs.write_sources("networks")
    return tuple(_measure(jaxfs, row, rounds) for row in ROWS)


def _measure(jaxfs: Jaxfs, row: Transformed, rounds: int) -> Comparison:
    programs, name = jaxfs.mountpoint / "programs", f"copy_of_{row.program}"
    if not (programs / row.program).exists():
        jaxfs.install(row.program)
    ours = jaxfs.mountpoint / "transformations" / row.steps / row.program
    (programs / f"{name}.mlir").write_bytes((ours / "stablehlo.mlir").read_bytes())
    with ExitStack() as stack:
        calls = [_caller(place, stack) for place in (ours, programs / name)]
        if calls[0]() != calls[1]():
            raise RuntimeError(f"{ours} gives other bytes than its copy in programs/")
        what = f"{row.steps}/{row.program}"
        return compare(what, calls[0], calls[1], rounds=rounds, turns=row.turns)


def _caller(place: Path, stack: ExitStack) -> Callable[[], bytes]:
    """One call, of the same numbers each time, on a file that stays open."""
    signature = msgspec.json.decode((place / "signature.json").read_bytes())
    taken, given = (
        sum(prod(param["aval"][1]) for param in signature[key]) for key in ("inputs", "outputs")
    )
    request = np.random.default_rng(0).normal(0, 0.1, taken).astype(np.float32).tobytes()
    endpoint = OpenFile(str(place / "call.raw"), given * ITEM_BYTES)
    transport = stack.enter_context(closing(endpoint.connect()))
    return lambda: bytes(transport.call(request))
