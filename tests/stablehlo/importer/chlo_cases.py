"""Programs of CHLO's operations."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.stablehlo.importer.cases import case, one, scalar

for _name in ("acos", "asin", "asinh", "atan", "atanh", "conj", "cosh", "erf", "erfc", "sinh"):
    one(f"chlo.{_name}", "f -> f")
for _name in ("bessel_i1e", "erf_inv", "square", "tan"):
    one(f"chlo.{_name}", "f -> f")
one("chlo.conj:complex", "c -> c")
one("chlo.square:complex", "c -> c")
one("chlo.acosh", "f -> f", low=1, high=3)
for _name in ("digamma", "lgamma"):
    one(f"chlo.{_name}", "f -> f", low=0.2, high=4)
for _name in ("is_inf", "is_neg_inf", "is_pos_inf"):
    one(f"chlo.{_name}", "f -> b")
one("chlo.next_after", "f f -> f")
one("chlo.polygamma", "f f -> f", low=1, high=3)
one("chlo.zeta", "f f -> f", low=1.5, high=3)
one("chlo._asin_acos_kernel", "c -> c")

for _name in ("add", "subtract", "multiply", "divide", "maximum", "minimum", "remainder", "atan2"):
    one(f"chlo.broadcast_{_name}", "m f -> m")
one(
    "chlo.broadcast_add:named", "m tensor<3xf32> -> m", "broadcast_dimensions = array<i64: 0>",
    expected=lambda x, y: x + y[:, None],
)  # fmt: skip
one("chlo.broadcast_next_after", "m f -> m")
one("chlo.broadcast_power", "m f -> m", low=0.2)
one("chlo.broadcast_polygamma", "m f -> m", low=1, high=3)
one("chlo.broadcast_zeta", "m f -> m", low=1.5, high=3)
one("chlo.broadcast_complex", "m f -> tensor<3x4xcomplex<f32>>")
for _name in ("and", "or", "xor", "shift_left", "shift_right_arithmetic", "shift_right_logical"):
    one(f"chlo.broadcast_{_name}", "tensor<3x4xi32> i -> tensor<3x4xi32>")
one(
    "chlo.broadcast_compare", "m f -> tensor<3x4xi1>",
    "comparison_direction = #chlo<comparison_direction GE>",
)  # fmt: skip
one("chlo.broadcast_select", "b m m -> m")

one("chlo.constant", "-> f", "value = dense<[1.0, 2.0, 3.0, 4.5]> : tensor<4xf32>")
one("chlo.constant_like", "m -> m", "value = 2.5 : f32")
one("chlo.constant_like:integer", "i -> i", "value = 3 : i32")


def _mulhi(high: int, bits: int) -> Any:
    """The same in Python's integers."""

    def compute(x: Any) -> Any:
        found = []
        for value, part in zip(x.tolist(), (1, 3, 7, 2), strict=True):
            wrapped = (high // part - value) % 2**bits
            is_negative = wrapped >= 2 ** (bits - 1) and high < 2 ** (bits - 1)
            found.append((high // part) * (wrapped - is_negative * 2**bits) >> bits)
        return np.array(found, object).astype(x.dtype)

    return compute


for _type, _high, _bits in (
    ("i32", 2**31 - 1, 32),
    ("ui32", 2**32 - 1, 32),
    ("i64", 2**63 - 1, 64),
    ("ui64", 2**64 - 1, 64),
    ("i8", 127, 8),
):
    t = f"tensor<4x{_type}>"
    case(
        f"chlo.mulhi:{_type}",
        f"""func.func @main(%x: {t}) -> {t} {{
  %c = stablehlo.constant dense<[{_high}, {_high // 3}, {_high // 7}, {_high // 2}]> : {t}
  %d = stablehlo.subtract %c, %x : {t}
  %r = chlo.mulhi %c, %d : {t}, {t} -> {t}
  return %r : {t}
}}
""",
        expected=_mulhi(_high, _bits),
    )
one("chlo.top_k", "m -> tensor<3x2xf32> tensor<3x2xi32>", "k = 2 : i64")
one(
    "chlo.ragged_dot", "tensor<5x4xf32> tensor<2x4x3xf32> -> tensor<5x3xf32>",
    "ragged_dot_dimension_numbers = #chlo.ragged_dot<lhs_contracting_dimensions = [1], "
    "rhs_contracting_dimensions = [1], lhs_ragged_dimensions = [0], rhs_group_dimensions = [0]>",
    before="  %x = stablehlo.constant dense<[2, 3]> : tensor<2xi32>",
    expected=lambda x, w: np.concatenate([x[:2] @ w[0], x[2:] @ w[1]]),
)  # fmt: skip
for _name, _reverse in (("", "false"), (":reverse", "true")):
    case(
        f"chlo.scan{_name}",
        f"""func.func @main(%x: tensor<3x4xf32>, %i: tensor<3xf32>)
    -> (tensor<3x4xf32>, tensor<3xf32>) {{
  %r:2 = "chlo.scan"(%x, %i) <{{dimension = 1 : i64, is_reverse = {_reverse},
      operandSegmentSizes = array<i32: 1, 1>, resultSegmentSizes = array<i32: 1, 1>}}> ({{
    ^bb0(%a: tensor<3xf32>, %b: tensor<3xf32>):
      %s = stablehlo.add %a, %b : tensor<3xf32>
      %t = stablehlo.multiply %s, %b : tensor<3xf32>
      stablehlo.return %t, %s : tensor<3xf32>, tensor<3xf32>
  }}) : (tensor<3x4xf32>, tensor<3xf32>) -> (tensor<3x4xf32>, tensor<3xf32>)
  return %r#0, %r#1 : tensor<3x4xf32>, tensor<3xf32>
}}
""",
    )
one("chlo.broadcast_divide:by_number", "m -> m", before=scalar("x", "3.0"))
