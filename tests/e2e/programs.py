"""Programs that tests use."""

from __future__ import annotations

import functools
import subprocess
import sys

from tests.conftest import SAXPY

DOUBLE = SAXPY.replace("2.0", "4.0")
STEP = """
func.func @main(%w: tensor<4xf32>, %x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = stablehlo.add %w, %x : tensor<4xf32>
  return %0 : tensor<4xf32>
}
"""
TREE = """
def step(params, x):
    new = {key: value + x.astype(value.dtype) for key, value in params.items()}
    return new, x * 2
params = {"b": np.zeros(3, np.float16), "w": np.ones((2, 3), np.float32)}
"""
SPIN = """
func.func public @main(%n: tensor<i64>) -> (tensor<i64> {jax.result_info = "turns"}) {
  %zero = stablehlo.constant dense<0> : tensor<i64>
  %one = stablehlo.constant dense<1> : tensor<i64>
  %seed = stablehlo.constant dense<1> : tensor<ui32>
  %factor = stablehlo.constant dense<1664525> : tensor<ui32>
  %step = stablehlo.constant dense<1013904223> : tensor<ui32>
  %i, %last, %state = stablehlo.while(%a = %zero, %b = %n, %s = %seed)
      : tensor<i64>, tensor<i64>, tensor<ui32>
  cond {
    %c = stablehlo.compare LT, %a, %b : (tensor<i64>, tensor<i64>) -> tensor<i1>
    stablehlo.return %c : tensor<i1>
  } do {
    %next = stablehlo.add %a, %one : tensor<i64>
    %p = stablehlo.multiply %s, %factor : tensor<ui32>
    %q = stablehlo.add %p, %step : tensor<ui32>
    stablehlo.return %next, %b, %q : tensor<i64>, tensor<i64>, tensor<ui32>
  }
  %rare = stablehlo.constant dense<3735928559> : tensor<ui32>
  %is_rare = stablehlo.compare EQ, %state, %rare : (tensor<ui32>, tensor<ui32>) -> tensor<i1>
  %turns = stablehlo.select %is_rare, %zero, %i : tensor<i1>, tensor<i64>
  return %turns : tensor<i64>
}
"""
SECONDS = 600_000_000  # turns of SPIN that take about a second; only the order of magnitude counts
FOREVER = 1 << 62


def sines(count: int) -> str:
    """A program that takes long to compile: 20,000 operations take many seconds."""
    lines = [
        f"  %{n + 1} = stablehlo.sine %{n} : tensor<4xf32>".replace("%0 ", "%x ")
        for n in range(count)
    ]
    return "\n".join(
        [
            "func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {",
            *lines,
            f"  return %{count} : tensor<4xf32>",
            "}",
            "",
        ]
    )


# The functions are made in another process, as users make theirs: nothing of it is left here.
MAKE = """
import sys, cloudpickle, jax, jax.numpy as jnp, numpy as np
{body}
sys.stdout.buffer.write(cloudpickle.dumps({value}))
"""


@functools.cache
def made(body: str, value: str) -> bytes:
    """What a Python program of a user writes."""
    code = MAKE.format(body=body, value=value)
    return subprocess.check_output([sys.executable, "-c", code], timeout=120)
