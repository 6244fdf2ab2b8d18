"""F0 to F5: the whole of it, through files."""

from __future__ import annotations

import shlex
from time import perf_counter

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.mounted import Mount
from benchmarks.gpu.outcomes import Found, Value
from benchmarks.processes import ROOT

EXAMPLES = ROOT / "examples"
STEPS, SMALL_STEPS = 100, 5
CALL = "exec 3<>programs/saxpy/call; echo '[1, 2, 3, 4] [10, 20, 30, 40]' >&3; cat <&3"
ANSWER = [12.0, 24.0, 36.0, 48.0]
GB = 1e9
PATIENCE_S = 10.0
LARGE = """func.func public @main(%x: tensor<f32>) -> tensor<{n}xf32> {{
  %0 = stablehlo.broadcast_in_dim %x, dims = [] : (tensor<f32>) -> tensor<{n}xf32>
  return %0 : tensor<{n}xf32>
}}
"""
ENDLESS = """func.func public @main(%x: tensor<i32>) -> tensor<i32> {
  %0 = stablehlo.while(%i = %x) : tensor<i32>
  cond {
    %zero = stablehlo.constant dense<0> : tensor<i32>
    %more = stablehlo.compare NE, %i, %zero : (tensor<i32>, tensor<i32>) -> tensor<i1>
    stablehlo.return %more : tensor<i1>
  } do {
    %two = stablehlo.constant dense<2> : tensor<i32>
    %next = stablehlo.subtract %i, %two : tensor<i32>
    stablehlo.return %next : tensor<i32>
  }
  return %0 : tensor<i32>
}
"""
PRODUCT = """func.func public @main(%x: tensor<f32>) -> tensor<f32> {{
  %i = stablehlo.iota dim = 0 : tensor<{n}x{n}xf32>
  %y = stablehlo.broadcast_in_dim %x, dims = [] : (tensor<f32>) -> tensor<{n}x{n}xf32>
  %z = stablehlo.divide %i, %y : tensor<{n}x{n}xf32>
  %0 = stablehlo.dot %z, %z : (tensor<{n}x{n}xf32>, tensor<{n}x{n}xf32>) -> tensor<{n}x{n}xf32>
  %1 = stablehlo.constant dense<0.0> : tensor<f32>
  %2 = stablehlo.reduce(%0 init: %1) applies stablehlo.add across dimensions = [0, 1]
      : (tensor<{n}x{n}xf32>, tensor<f32>) -> tensor<f32>
  return %2 : tensor<f32>
}}
"""


def mounted(bench: Bench) -> Mount:
    """Returns the mount that these checks share; the runner ends it."""
    mount = Mount(bench.config)
    mount.start()
    return mount


async def demo(bench: Bench) -> Found:
    """The demo that ``make demo`` runs; it mounts by itself, by JAX's choice of a platform."""
    rows = Mount(bench.config).shell("examples/demo.sh", wait_s=38.0).splitlines()
    kinds = [rows[at + 1] for at, row in enumerate(rows) if "cat devices/*/kind" in row]
    return Found(any("12.0" in row for row in rows), {"lines": len(rows), "kind": " ".join(kinds)})


async def call_from_shell(bench: Bench) -> Found:
    """Mounts with the option ``platform``, compiles and calls."""
    start = perf_counter()
    mount = mounted(bench)
    mount_s, start = perf_counter() - start, perf_counter()
    mount.shell(f"cp {shlex.quote(str(EXAMPLES / 'saxpy.mlir'))} programs/", cwd=mount.path)
    compile_s = perf_counter() - start
    found = mount.shell(CALL, cwd=mount.path)
    devices = " ".join(sorted(path.name for path in (mount.path / "devices").iterdir()))
    figures: dict[str, Value] = {
        "mount_s": mount_s,
        "compile_s": compile_s,
        "devices": devices,
        "found": found.strip(),
    }
    return Found(_numbers(found) == ANSWER, figures)


def _numbers(text: str) -> list[float]:
    return [float(word) for word in text.strip().strip("[]").split(",")]


async def train(bench: Bench) -> Found:
    """A training loop in a shell."""
    mount = mounted(bench)
    steps = SMALL_STEPS if bench.config.small else STEPS
    start = perf_counter()
    words = mount.shell("examples/train.sh $0 $1", str(mount.path), str(steps), wait_s=38.0)
    took_s = perf_counter() - start
    first = words.splitlines()[0].split()  # loss X, after N steps Y
    before, after = float(first[1].rstrip(",")), float(first[-1])
    return Found(after < before, {"s": took_s, "steps": steps, "loss": before, "after": after})


async def read_large(bench: Bench) -> Found:
    """dd(1) of a large result that is ready."""
    mount = mounted(bench)
    elements = bench.sizes.large
    (mount.path / "programs/large.mlir").write_text(LARGE.format(n=elements))
    (mount.path / "programs/large/calls/large").write_text("2.5\n")
    mount.shell("cat results/large > /dev/null", cwd=mount.path)  # waits for it
    nbytes = (mount.path / "results/large").stat().st_size
    start = perf_counter()
    mount.shell("dd if=results/large of=/dev/null bs=1M status=none", cwd=mount.path)
    took_s = perf_counter() - start
    mount.shell("rm results/large", cwd=mount.path)
    rate = nbytes / took_s / GB
    figures: dict[str, Value] = {"s": took_s, "nbytes": nbytes, "gb_per_s": rate}
    return Found(nbytes >= elements * 4 and rate >= 1, figures)


async def device_files(bench: Bench) -> Found:
    """Every file of every device can be read."""
    mount, figures, met = mounted(bench), dict[str, Value](), True
    for path in sorted((mount.path / "devices").rglob("*")):
        if not path.is_file():
            continue
        name = str(path.relative_to(mount.path / "devices"))
        try:
            figures[name] = " ".join(path.read_text().split())[:200]
        except OSError as error:
            met, figures[name] = False, f"{type(error).__name__}: {error}"
        if path.name == "health":
            met = met and str(figures[name]).startswith("ok")
    return Found(met and bool(figures), figures)


async def beside_endless(bench: Bench) -> Found:
    """A loop that never ends, while another program is compiled and called."""
    mount = mounted(bench)
    programs = mount.path / "programs"
    (programs / "endless.mlir").write_text(ENDLESS)
    (programs / "endless/calls/forever").write_text("1\n")
    start = perf_counter()
    (programs / "product.mlir").write_text(PRODUCT.format(n=bench.sizes.matrix // 8 + 24))
    compile_s, start = perf_counter() - start, perf_counter()
    found = mount.shell(
        "echo 1 > programs/product/calls/p; cat results/p.txt", cwd=mount.path, wait_s=12.0
    )
    call_s = perf_counter() - start
    state = (programs / "endless/calls/forever").read_text().split("\n")[0]
    mount.shell("rm results/forever results/p", cwd=mount.path)
    health = (mount.path / "health").read_text().splitlines()[0]
    figures: dict[str, Value] = {
        "compile_s": compile_s,
        "call_s": call_s,
        "found": found.strip(),
        "endless": state,
        "health": health,
    }
    return Found(max(compile_s, call_s) < PATIENCE_S, figures)


CHECKS = {
    "F0": demo,
    "F1": call_from_shell,
    "F2": train,
    "F3": read_large,
    "F4": device_files,
    "F5": beside_endless,
}
