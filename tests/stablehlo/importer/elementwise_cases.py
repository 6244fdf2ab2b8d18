"""Programs of StableHLO's operations on each element."""

from __future__ import annotations

from tests.stablehlo.importer.cases import ODD, one

for _name in ("abs", "cbrt", "ceil", "cosine", "exponential", "exponential_minus_one", "floor"):
    one(f"stablehlo.{_name}", "f -> f")
for _name in ("logistic", "negate", "sign", "sine", "tan", "tanh"):
    one(f"stablehlo.{_name}", "f -> f")
for _name in ("log", "log_plus_one", "rsqrt", "sqrt"):
    one(f"stablehlo.{_name}", "f -> f", low=0.1)
for _name in ("round_nearest_afz", "round_nearest_even"):
    one(f"stablehlo.{_name}", "f -> f", low=-4, high=4)
for _name in ("add", "subtract", "multiply", "divide", "maximum", "minimum", "remainder", "atan2"):
    one(f"stablehlo.{_name}", "f f -> f")
for _name in ("add", "divide"):
    one(f"stablehlo.{_name}:complex", "c c -> c")
one("stablehlo.power", "f f -> f", low=0.2)
one("stablehlo.power:integer", "u u -> u")
for _name in ("and", "or", "xor", "shift_left", "shift_right_arithmetic", "shift_right_logical"):
    one(f"stablehlo.{_name}", "i i -> i")
for _name in ("add", "multiply", "and", "or", "xor", "maximum"):
    one(f"stablehlo.{_name}:bool", "b b -> b")
one("stablehlo.divide:integer", "i i -> i", low=1)
for _name in ("not", "popcnt", "count_leading_zeros"):
    one(f"stablehlo.{_name}", "i -> i")
one("stablehlo.abs:complex", "c -> f")
one("stablehlo.sign:complex", "c -> c")
one("stablehlo.is_finite", "f -> b")
one("stablehlo.real", "c -> f")
one("stablehlo.real:of_real", "f -> f")
one("stablehlo.imag", "c -> f")
one("stablehlo.imag:of_real", "f -> f")
one("stablehlo.complex", "f f -> c")
one("stablehlo.convert", "f -> i", high=9)
one("stablehlo.convert:to_bool", "i -> b")
one("stablehlo.convert:to_bf16", "f -> tensor<4xbf16>")
one("stablehlo.convert:to_f8", "f -> tensor<4xf8E4M3FN>")
one("stablehlo.convert:complex_to_real", "c -> f")
one("stablehlo.bitcast_convert", "f -> i")
one("stablehlo.bitcast_convert:narrower", "f -> tensor<4x4xi8>")
one("stablehlo.reduce_precision", "f -> f", "exponent_bits = 5 : i32, mantissa_bits = 3 : i32")
_LESS = "comparison_direction = #stablehlo<comparison_direction LT>"
one("stablehlo.compare", "f f -> b", _LESS)
one(
    "stablehlo.compare:total_order",
    "f f -> b",
    f"{_LESS}, compare_type = #stablehlo<comparison_type TOTALORDER>",
)
one("stablehlo.select", "b f f -> f")
one("stablehlo.select:scalar", "tensor<i1> f f -> f")
one("stablehlo.clamp", "s f s -> f")
one("stablehlo.map", "f f -> f", "dimensions = array<i64: 0>", ODD)
