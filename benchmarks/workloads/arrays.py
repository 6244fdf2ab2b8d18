"""Measures arrays that stay in the mount.

What large weights cost a call, what a training step costs, how fast a large result is read.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from benchmarks.peers import Jaxfs
from benchmarks.rounds import Comparison, Spread, compare
from benchmarks.transports import OpenFile
from benchmarks.workloads.training import STEPS

ROW = 64  # f32
LARGE_ROWS = 1 << 20  # 256 MiB
SMALL_ROWS = 1 << 4
ROUND_STEPS = 100
TMPFS = "/dev/shm"
REQUEST = b"arrays/params arrays/x arrays/y\n"
LOOK = """
func.func @main(%w: tensor<{rows}x64xf32>, %i: tensor<i32>) -> tensor<1x64xf32> {{
  %z = stablehlo.constant dense<0> : tensor<i32>
  %0 = stablehlo.dynamic_slice %w, %i, %z, sizes = [1, 64]
      : (tensor<{rows}x64xf32>, tensor<i32>, tensor<i32>) -> tensor<1x64xf32>
  return %0 : tensor<1x64xf32>
}}
"""
FILL = """
func.func @main(%x: tensor<f32>) -> tensor<67108864xf32> {
  %0 = stablehlo.broadcast_in_dim %x, dims = [] : (tensor<f32>) -> tensor<67108864xf32>
  return %0 : tensor<67108864xf32>
}
"""


@dataclass(frozen=True)
class Arrays:
    """What arrays that stay cost.

    Attributes:
        bound: a call on large bound weights against one on small weights.
        read: a large result read by mmap against a file of tmpfs.
        step_s: seconds of the file operations of a training step; a round is 100 steps.
        difference: of the parameters from JAX's at the end.
    """

    bound: Comparison
    read: Comparison
    step_s: Spread
    difference: float


def measure(jaxfs: Jaxfs, rounds: int) -> Arrays:
    """Raises OSError, RuntimeError."""
    mount = jaxfs.mountpoint
    jaxfs.write_sources("training")
    step_s, difference = _training(mount, jaxfs.sources)
    return Arrays(_bound(mount, rounds), _read(mount, rounds), step_s, difference)


def _bound(mount: Path, rounds: int) -> Comparison:
    with ExitStack() as stack:
        large, small = (_look(mount, rows, stack) for rows in (LARGE_ROWS, SMALL_ROWS))
        what = "a row of bound weights, 256 MiB against 4 KiB"
        return compare(what, large, small, rounds=rounds, turns=400)


def _look(mount: Path, rows: int, stack: ExitStack) -> Callable[[], bytes]:
    """A call for the last row, on a file that stays open."""
    name = f"look_{rows}"
    (mount / f"programs/{name}.mlir").write_text(LOOK.format(rows=rows))
    weights = np.arange(rows * ROW, dtype=np.float32).reshape(rows, ROW)
    with open(mount / f"arrays/{name}.npy", "wb") as file:
        np.save(file, weights)
    (mount / f"programs/{name}/inputs/w").symlink_to(f"../../../arrays/{name}")
    endpoint = OpenFile(str(mount / f"programs/{name}/call.raw"), ROW * 4)
    transport = stack.enter_context(closing(endpoint.connect()))
    request = np.int32(rows - 1).tobytes()
    if bytes(transport.call(request)) != weights[-1].tobytes():
        raise RuntimeError(f"{name} gives another row")
    return lambda: bytes(transport.call(request))


def _read(mount: Path, rounds: int) -> Comparison:
    """Compares reads of a large result with reads of a file of tmpfs.

    Each file is read once, so that nothing of it is in the kernel's cache; the two take turns.
    """
    (mount / "programs/fill.mlir").write_text(FILL)
    ours, other = list[float](), list[float]()
    with tempfile.TemporaryDirectory(dir=TMPFS) as place:
        for number in range(3 * rounds):
            (mount / f"programs/fill/calls/f{number}").write_text("1.5\n")
            result, copy = mount / f"results/f{number}", Path(place) / f"f{number}.npy"
            with open(result, "rb"):  # it is there
                np.save(copy, np.full(1 << 26, 1.5, np.float32))
            ours.append(_summed(result))
            other.append(_summed(copy))
            result.unlink()
            copy.unlink()
    what = "np.load(mmap_mode='r') and sum of 256 MiB, a result against tmpfs"
    return Comparison.of(what, ours, other)


def _summed(path: Path) -> float:
    before = perf_counter()
    total = np.load(path, mmap_mode="r").sum(dtype=np.float64)
    seconds = perf_counter() - before
    if total != 1.5 * (1 << 26):
        raise RuntimeError(f"{path} holds other numbers")
    return seconds


def _training(mount: Path, sources: Path) -> tuple[Spread, float]:
    """Writing the call and moving its result over the parameters; nothing waits for a step."""
    for name, data in (("x.npy", "x.npy"), ("y.npy", "y.npy"), ("params", "first.safetensors")):
        (mount / "arrays" / name).write_bytes((sources / data).read_bytes())
    (mount / "programs/step.mlir").write_bytes((sources / "step.mlir").read_bytes())
    call, result, params = (
        str(mount / name) for name in ("programs/step/calls/step", "results/step", "arrays/params")
    )
    seconds = []
    for _ in range(STEPS):
        before = perf_counter()
        fd = os.open(call, os.O_WRONLY | os.O_CREAT, 0o644)
        os.write(fd, REQUEST)
        os.close(fd)
        os.rename(result, params)  # noqa: PTH104  # pathlib would be part of the figure
        seconds.append(perf_counter() - before)
    with np.load(mount / "arrays/params.npz") as found, np.load(sources / "after.npz") as right:
        difference = max(float(np.abs(found[name] - right[name]).max()) for name in right.files)
    rounds = [seconds[begin : begin + ROUND_STEPS] for begin in range(0, STEPS, ROUND_STEPS)]
    return Spread.over([statistics.median(steps) for steps in rounds]), difference
