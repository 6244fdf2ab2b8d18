"""The StableHLO test programs; no jax here."""

from __future__ import annotations

DEVICES = 4
LINALG = (
    "cholesky",
    "qr",
    "eigh",
    "svd",
    "lu",
    "solve",
    "triangular_solve",
    "fft",
    "sort",
    "rng",
)


def double(mlir: str, shape: str = "8x") -> str:
    """``x + x`` (for i1: or)."""
    kind = f"tensor<{shape}{mlir}>"
    return f"""func.func public @main(%x: {kind}) -> {kind} {{
  %0 = stablehlo.add %x, %x : {kind}
  return %0 : {kind}
}}"""


SEVERAL = """func.func public @main(%x: tensor<3xf32>, %y: tensor<5xi8>)
    -> (tensor<5xi8>, tensor<3xf32>, tensor<f64>) {
  %0 = stablehlo.add %x, %x : tensor<3xf32>
  %1 = stablehlo.negate %y : tensor<5xi8>
  %2 = stablehlo.constant dense<2.5> : tensor<f64>
  return %1, %0, %2 : tensor<5xi8>, tensor<3xf32>, tensor<f64>
}"""

SPREAD = """module attributes {mhlo.num_partitions = 4 : i32} {
  sdy.mesh @mesh = <["x"=4]>
  func.func public @main(%x: tensor<8xf32> {sdy.sharding = #sdy.sharding<@mesh, [{"x"}]>})
      -> (tensor<8xf32>, tensor<f32>) {
    %0 = stablehlo.add %x, %x : tensor<8xf32>
    %1 = stablehlo.constant dense<0.0> : tensor<f32>
    %2 = stablehlo.reduce(%0 init: %1) applies stablehlo.add across dimensions = [0]
        : (tensor<8xf32>, tensor<f32>) -> tensor<f32>
    return %0, %2 : tensor<8xf32>, tensor<f32>
  }
}"""

NO_INPUTS = """func.func public @main() -> tensor<4xi32> {
  %0 = stablehlo.iota dim = 0 : tensor<4xi32>
  return %0 : tensor<4xi32>
}"""

NO_OUTPUTS = """func.func public @main(%x: tensor<4xi32>) { return }"""

DONATED = """func.func public @main(%x: tensor<65536xf32> {tf.aliasing_output = 0 : i32})
    -> tensor<65536xf32> {
  %0 = stablehlo.add %x, %x : tensor<65536xf32>
  return %0 : tensor<65536xf32>
}"""

COUNT_TO_ZERO = """func.func public @main(%x: tensor<i32>) -> tensor<i32> {
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
}"""

DOT = """func.func public @main(%x: tensor<512x512xf32>) -> tensor<512x512xf32> {
  %0 = stablehlo.dot %x, %x : (tensor<512x512xf32>, tensor<512x512xf32>) -> tensor<512x512xf32>
  return %0 : tensor<512x512xf32>
}"""

ENDLESS_DOT = """func.func public @main(%x: tensor<512x512xf32>) -> tensor<512x512xf32> {
  %true = stablehlo.constant dense<true> : tensor<i1>
  %0:2 = stablehlo.while(%a = %x, %c = %true) : tensor<512x512xf32>, tensor<i1>
  cond {
    stablehlo.return %c : tensor<i1>
  } do {
    %p = stablehlo.dot %a, %x : (tensor<512x512xf32>, tensor<512x512xf32>) -> tensor<512x512xf32>
    %h = stablehlo.slice %p [0:1, 0:1] : (tensor<512x512xf32>) -> tensor<1x1xf32>
    %s = stablehlo.reshape %h : (tensor<1x1xf32>) -> tensor<f32>
    %m = stablehlo.constant dense<-1.0> : tensor<f32>
    %more = stablehlo.compare NE, %s, %m : (tensor<f32>, tensor<f32>) -> tensor<i1>
    stablehlo.return %p, %more : tensor<512x512xf32>, tensor<i1>
  }
  return %0#0 : tensor<512x512xf32>
}"""

BITS = """func.func public @main(%x: tensor<i8>) -> tensor<8xi1> {
  %0 = stablehlo.bitcast_convert %x : (tensor<i8>) -> tensor<8xi1>
  return %0 : tensor<8xi1>
}"""

CRASH = """func.func public @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = stablehlo.custom_call @xla_ffi_python_cpu_callback(%x) {
    api_version = 4 : i32, backend_config = {index = 1234567 : ui64}
  } : (tensor<4xf32>) -> tensor<4xf32>
  return %0 : tensor<4xf32>
}"""

TOO_BIG = """func.func public @main(%x: tensor<i8>) -> tensor<1099511627776xi8> {
  %0 = stablehlo.broadcast_in_dim %x, dims = [] : (tensor<i8>) -> tensor<1099511627776xi8>
  return %0 : tensor<1099511627776xi8>
}"""

MANY = 200  # inputs of 1 KiB: more than a message holds
SUM_MANY = """func.func public @main({}) -> tensor<256xf32> {{
{}
  return %s{} : tensor<256xf32>
}}""".format(
    ", ".join(f"%x{i}: tensor<256xf32>" for i in range(MANY)),
    "\n".join(
        f"%s{i} = stablehlo.add %{'x0' if i == 1 else f's{i - 1}'}, %x{i} : tensor<256xf32>"
        for i in range(1, MANY)
    ),
    MANY - 1,
)

DTYPES = {  # short name: MLIR name
    "bool": "i1",
    "i4": "i4",
    "u4": "ui4",
    "i8": "i8",
    "u16": "ui16",
    "i32": "i32",
    "i64": "i64",
    "f8_e4m3fn": "f8E4M3FN",
    "bf16": "bf16",
    "f16": "f16",
    "f32": "f32",
    "f64": "f64",
    "c64": "complex<f32>",
    "c128": "complex<f64>",
}

TEXTS = {  # name: text, device
    **{short: (double(mlir), 0) for short, mlir in DTYPES.items()},
    "scalar": (double("f32", ""), 0),
    "empty": (double("f32", "0x4x"), 0),
    "big": (double("f32", "16777216x"), 0),
    "on_device_3": (double("f32"), 3),
    "several": (SEVERAL, 0),
    "no_inputs": (NO_INPUTS, 0),
    "no_outputs": (NO_OUTPUTS, 0),
    "donated": (DONATED, 0),
    "count_to_zero": (COUNT_TO_ZERO, 0),
    "bits": (BITS, 0),
    "dot": (DOT, 0),
    "endless_dot": (ENDLESS_DOT, 0),
    "crash": (CRASH, 0),
    "too_big": (TOO_BIG, 0),
    "sum_many": (SUM_MANY, 0),
}
