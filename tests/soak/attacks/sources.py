"""Programs that attacks use."""

from __future__ import annotations

TWICE = """
func.func public @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %y = stablehlo.add %x, %x : tensor<4xf32>
  return %y : tensor<4xf32>
}
"""
ENDLESS = """
func.func public @main(%n: tensor<i32>) -> tensor<i32> {
  %zero = stablehlo.constant dense<0> : tensor<i32>
  %one = stablehlo.constant dense<1> : tensor<i32>
  %r = stablehlo.while(%i = %n) : tensor<i32>
  cond {
    %c = stablehlo.compare NE, %i, %zero : (tensor<i32>, tensor<i32>) -> tensor<i1>
    stablehlo.return %c : tensor<i1>
  } do {
    %h = stablehlo.multiply %i, %i : tensor<i32>
    %o = stablehlo.or %h, %one : tensor<i32>
    stablehlo.return %o : tensor<i32>
  }
  return %r : tensor<i32>
}
"""
ENDLESS_PRODUCT = """
func.func public @main(%x: tensor<512x512xf32>) -> tensor<512x512xf32> {
  %r = stablehlo.while(%i = %x) : tensor<512x512xf32>
  cond {
    %t = stablehlo.constant dense<true> : tensor<i1>
    stablehlo.return %t : tensor<i1>
  } do {
    %p = stablehlo.dot_general %i, %x, contracting_dims = [1] x [0]
        : (tensor<512x512xf32>, tensor<512x512xf32>) -> tensor<512x512xf32>
    stablehlo.return %p : tensor<512x512xf32>
  }
  return %r : tensor<512x512xf32>
}
"""
ANY_LENGTH = """
func.func public @main(%x: tensor<?xf32>) -> tensor<?xf32> {
  %y = stablehlo.add %x, %x : tensor<?xf32>
  return %y : tensor<?xf32>
}
"""


def broadcast(count: int) -> str:
    """Returns a program whose result is ``count`` times its input, f32[]."""
    return f"""
func.func public @main(%x: tensor<f32>) -> tensor<{count}xf32> {{
  %y = stablehlo.broadcast_in_dim %x, dims = [] : (tensor<f32>) -> tensor<{count}xf32>
  return %y : tensor<{count}xf32>
}}
"""


def sines(count: int, seed: int) -> str:
    """Returns a program of so many sines, slow to compile; another one for each seed."""
    lines = [
        f"  %c = stablehlo.constant dense<{seed}.5> : tensor<4xf32>",
        "  %0 = stablehlo.add %x, %c : tensor<4xf32>",
        *(f"  %{n + 1} = stablehlo.sine %{n} : tensor<4xf32>" for n in range(count)),
        f"  return %{count} : tensor<4xf32>",
    ]
    head = "func.func public @main(%x: tensor<4xf32>) -> tensor<4xf32> {"
    return "\n".join((head, *lines, "}\n"))
