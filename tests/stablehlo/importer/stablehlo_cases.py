"""Programs of StableHLO's other operations."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.stablehlo.importer.cases import ODD, by, case, comparing, ints, one, scalar

# Shapes

one(
    "stablehlo.constant",
    "-> f",
    "value = dense<[1.5, 0x7FC00000, -2.0, 0x7F800000]> : tensor<4xf32>",
)
one(
    "stablehlo.constant:complex",
    "-> c",
    "value = dense<[(1.0,2.0),(0.5,-1.0),(0x7F800000,0.0),(3.0,4.0)]> : tensor<4xcomplex<f32>>",
)
one("stablehlo.constant:bf16", "-> tensor<2xbf16>", "value = dense<[1.5, 0x7F80]> : tensor<2xbf16>")
one(
    "stablehlo.constant:f8", "-> tensor<2xf8E5M2>", "value = dense<[1.5, -0.25]> : tensor<2xf8E5M2>"
)
one("stablehlo.constant:int4", "-> tensor<3xi4>", "value = dense<[1, -8, 7]> : tensor<3xi4>")
one(
    "stablehlo.constant:bool",
    "-> tensor<3xi1>",
    "value = dense<[true, false, true]> : tensor<3xi1>",
)
one("stablehlo.constant:splat", "-> tensor<2x3xf64>", "value = dense<0.1> : tensor<2x3xf64>")
one("stablehlo.constant:unsigned", "-> tensor<2xui8>", "value = dense<[255, 1]> : tensor<2xui8>")
one(
    "stablehlo.constant:hex",
    "-> tensor<2xf32>",
    'value = dense<"0x0000803F00000040"> : tensor<2xf32>',
)
one("stablehlo.constant:empty", "-> tensor<0x2xf32>", "value = dense<> : tensor<0x2xf32>")
one("stablehlo.iota", "-> m", "iota_dimension = 1 : i64")
one("stablehlo.iota:complex", "-> c", "iota_dimension = 0 : i64")
one("stablehlo.dynamic_iota", "-> m", "iota_dimension = 0 : i64", before=ints("x", 3, 4))
one("stablehlo.broadcast_in_dim", "f -> m", "broadcast_dimensions = array<i64: 1>")
one(
    "stablehlo.dynamic_broadcast_in_dim", "f -> m", "broadcast_dimensions = array<i64: 1>",
    before=ints("x", 3, 4),
)  # fmt: skip
one("stablehlo.broadcast", "f -> m", "broadcast_sizes = array<i64: 3>")
one("stablehlo.reshape", "m -> tensor<2x6xf32>")
one("stablehlo.dynamic_reshape", "m -> tensor<2x6xf32>", before=ints("x", 2, 6))
one("stablehlo.transpose", "m -> tensor<4x3xf32>", "permutation = array<i64: 1, 0>")
one("stablehlo.concatenate", "m m -> tensor<3x8xf32>", "dimension = 1 : i64")
one("stablehlo.reverse", "m -> m", "dimensions = array<i64: 1, 0>")
_EDGES = (
    "edge_padding_low = array<i64: 1, -1>, edge_padding_high = array<i64: 0, 2>, "
    "interior_padding = array<i64: 1, 0>"
)
one("stablehlo.pad", "m s -> tensor<6x5xf32>", _EDGES)
one(
    "stablehlo.dynamic_pad", "m s -> tensor<6x5xf32>",
    before="\n".join([ints("x", 1, -1), ints("y", 0, 2), ints("z", 1, 0)]),
)  # fmt: skip
_BOUNDS = ("start_indices", (1, 0)), ("limit_indices", (3, 4)), ("strides", (1, 2))
one(
    "stablehlo.slice", "m -> tensor<2x2xf32>",
    ", ".join(f"{key} = array<i64: {', '.join(map(str, value))}>" for key, value in _BOUNDS),
)  # fmt: skip
one(
    "stablehlo.real_dynamic_slice", "m -> tensor<2x2xf32>",
    before="\n".join(ints(name, *value) for name, (_, value) in zip("xyz", _BOUNDS, strict=True)),
)  # fmt: skip
one("stablehlo.dynamic_slice", "m n n -> tensor<2x3xf32>", "slice_sizes = array<i64: 2, 3>")
one("stablehlo.dynamic_update_slice", "m tensor<2x1xf32> n n -> m")
one("stablehlo.get_dimension_size", "m -> n", "dimension = 1 : i64")
one("stablehlo.set_dimension_size", "f -> f", "dimension = 0 : i64", before=scalar("x", "4", "i32"))

# Reductions

_ROWS = "dimensions = array<i64: 1>"
for _name in ("add", "multiply", "maximum", "minimum"):
    one(f"stablehlo.reduce:{_name}", "m s -> tensor<3xf32>", _ROWS, by(_name))
for _name in ("and", "or", "xor"):
    one(
        f"stablehlo.reduce:{_name}",
        "tensor<3x4xi32> n -> tensor<3xi32>",
        _ROWS,
        by(_name, "i32", swapped=True),
    )
one("stablehlo.reduce:complex", "c tensor<complex<f32>> -> tensor<complex<f32>>",
    "dimensions = array<i64: 0>", by("add", "complex<f32>"))  # fmt: skip
one(
    "stablehlo.reduce:bool",
    "b tensor<i1> -> tensor<i1>",
    "dimensions = array<i64: 0>",
    by("add", "i1"),
)
one("stablehlo.reduce", "m -> tensor<3xf32>", _ROWS, ODD, before=scalar("x", "0.0"))
case(
    "stablehlo.reduce:argmax",
    """func.func @main(%x: tensor<3x4xf32>) -> (tensor<3xf32>, tensor<3xi32>) {
  %i = stablehlo.iota dim = 1 : tensor<3x4xi32>
  %l = stablehlo.constant dense<0xFF800000> : tensor<f32>
  %z = stablehlo.constant dense<0> : tensor<i32>
  %r:2 = stablehlo.reduce(%x init: %l), (%i init: %z) across dimensions = [1]
    : (tensor<3x4xf32>, tensor<3x4xi32>, tensor<f32>, tensor<i32>) -> (tensor<3xf32>, tensor<3xi32>)
    reducer(%p: tensor<f32>, %q: tensor<f32>) (%s: tensor<i32>, %t: tensor<i32>) {
      %g = stablehlo.compare GE, %p, %q : (tensor<f32>, tensor<f32>) -> tensor<i1>
      %v = stablehlo.select %g, %p, %q : tensor<i1>, tensor<f32>
      %w = stablehlo.select %g, %s, %t : tensor<i1>, tensor<i32>
      stablehlo.return %v, %w : tensor<f32>, tensor<i32>
    }
  return %r#0, %r#1 : tensor<3xf32>, tensor<3xi32>
}
""",
)
_WINDOW = (
    "window_dimensions = array<i64: 2, 2>, window_strides = array<i64: 1, 2>, "
    "padding = dense<[[1, 0], [0, 1]]> : tensor<2x2xi64>, window_dilations = array<i64: 1, 2>"
)
for _name in ("add", "maximum", "minimum", "multiply"):
    one(f"stablehlo.reduce_window:{_name}", "m s -> tensor<3x2xf32>", _WINDOW, by(_name))
one("stablehlo.reduce_window", "m -> tensor<3x2xf32>", _WINDOW, ODD, before=scalar("x", "0.0"))
_SPREAD = "window_dimensions = array<i64: 2, 2>, window_strides = array<i64: 1, 2>"
for _name, _direction in (("", "GE"), (":minimum", "LE")):
    one(
        f"stablehlo.select_and_scatter{_name}",
        "m tensor<2x2xf32> s -> m",
        _SPREAD,
        f"{comparing(_direction)[:-1]}, {by('add')[1:]}",
    )
one(
    "stablehlo.select_and_scatter:unusual", "m tensor<2x2xf32> s -> m", _SPREAD,
    f"{comparing('GE')[:-1]}, {by('maximum')[1:]}",
)  # fmt: skip
one("stablehlo.sort", "m -> m", "dimension = 1 : i64", comparing("GT"))
one(
    "stablehlo.sort:two", "f i -> f i", "dimension = 0 : i64, is_stable = true",
    comparing("LT").replace("):", ", %s: tensor<i32>, %t: tensor<i32>):", 1),
)  # fmt: skip

# Indices

_GATHER = (
    "dimension_numbers = #stablehlo.gather<offset_dims = [1], collapsed_slice_dims = [0], "
    "start_index_map = [0], index_vector_dim = 1>"
)
one(
    "stablehlo.gather", "m tensor<5x1xi32> -> tensor<5x2xf32>",
    f"{_GATHER}, slice_sizes = array<i64: 1, 2>",
)  # fmt: skip
one(
    "stablehlo.dynamic_gather", "m tensor<5x1xi32> -> tensor<5x2xf32>", _GATHER,
    before=ints("x", 1, 2),
)  # fmt: skip
_SCATTER = (
    "scatter_dimension_numbers = #stablehlo.scatter<update_window_dims = [1], "
    "inserted_window_dims = [0], scatter_dims_to_operand_dims = [0], index_vector_dim = 1>"
)
_SCATTER_TYPES = "m tensor<2x1xi32> tensor<2x4xf32> -> m"
for _name in ("add", "multiply", "minimum", "maximum", "subtract"):
    one(f"stablehlo.scatter:{_name}", _SCATTER_TYPES, _SCATTER, by(_name))
one("stablehlo.scatter", _SCATTER_TYPES, _SCATTER, by("add").replace('return"(%o)', 'return"(%q)'))
one("stablehlo.scatter:unusual", _SCATTER_TYPES, _SCATTER, ODD)
one("stablehlo.torch_index_select", "m tensor<2xi32> -> tensor<3x2xf32>",
    "dim = 1 : i64, batch_dims = 0 : i64")  # fmt: skip

# Products

one("stablehlo.dot", "m f -> tensor<3xf32>")
_DOT = (
    "dot_dimension_numbers = #stablehlo.dot<lhs_batching_dimensions = [0], "
    "rhs_batching_dimensions = [0], lhs_contracting_dimensions = [2], "
    "rhs_contracting_dimensions = [1]>"
)
_DOT_TYPES = "tensor<2x3x4xf32> tensor<2x4x2xf32> -> tensor<2x3x2xf32>"
one("stablehlo.dot_general", _DOT_TYPES, _DOT)
one(
    "stablehlo.dot_general:widening", "tensor<2x3x4xi8> tensor<2x4x2xi8> -> tensor<2x3x2xi32>", _DOT
)
one(
    "stablehlo.dot_general:algorithm", _DOT_TYPES,
    f"{_DOT}, algorithm = #stablehlo.dot_algorithm<lhs_precision_type = f32, "
    "rhs_precision_type = f32, accumulation_type = f32, lhs_component_count = 1, "
    "rhs_component_count = 1, num_primitive_operations = 1, allow_imprecise_accumulation = false>",
)  # fmt: skip
one("stablehlo.einsum", "m m -> tensor<3x3xf32>", 'einsum_config = "ij,kj->ik"')
one(
    "stablehlo.unary_einsum", "m -> tensor<4x3xf32>", 'einsum_config = "ij->ji"',
    expected=np.transpose,
)  # fmt: skip
_CONVOLUTION = (
    "dimension_numbers = #stablehlo.conv<[b, 0, f]x[0, i, o]->[b, 0, f]>, "
    "feature_group_count = 1 : i64, batch_group_count = 1 : i64"
)
_CONVOLVED = "tensor<1x5x2xf32> tensor<3x2x2xf32> -> tensor<1x5x2xf32>"


def _convolved(x: Any, kernel: Any) -> Any:
    padded = np.pad(x[0], ((1, 1), (0, 0)))
    return sum(padded[i : i + 5] @ kernel[i] for i in range(3))[None]


one("stablehlo.convolution", _CONVOLVED, f"{_CONVOLUTION}, padding = dense<1> : tensor<1x2xi64>")
one(
    "stablehlo.convolution:reversed", _CONVOLVED,
    f"{_CONVOLUTION}, padding = dense<1> : tensor<1x2xi64>, window_reversal = array<i1: true>",
)  # fmt: skip
one(
    "stablehlo.dynamic_conv", _CONVOLVED, _CONVOLUTION,
    before="  %x = stablehlo.constant dense<1> : tensor<1x2xi64>", expected=_convolved,
)  # fmt: skip
for _name, _types in (
    ("FFT", "tensor<2x4xcomplex<f32>> -> tensor<2x4xcomplex<f32>>"),
    ("IFFT", "tensor<2x4xcomplex<f32>> -> tensor<2x4xcomplex<f32>>"),
    ("RFFT", "tensor<2x4xf32> -> tensor<2x3xcomplex<f32>>"),
    ("IRFFT", "tensor<2x3xcomplex<f32>> -> tensor<2x4xf32>"),
):
    one(
        f"stablehlo.fft:{_name}", _types,
        f"fft_type = #stablehlo<fft_type {_name}>, fft_length = array<i64: 4>",
    )  # fmt: skip

# Control flow

_SCALE = """({{ %k = stablehlo.constant dense<{}> : tensor<f32>
    %b = stablehlo.broadcast_in_dim %k, dims = [] : (tensor<f32>) -> tensor<4xf32>
    %o = stablehlo.multiply %x, %b : tensor<4xf32>
    stablehlo.return %o : tensor<4xf32> }}"""
for _name, _type in (("if", "i1"), ("case", "i32")):
    case(
        f"stablehlo.{_name}",
        f"""func.func @main(%w: tensor<{_type}>, %x: tensor<4xf32>) -> tensor<4xf32> {{
  %r = "stablehlo.{_name}"(%w) {_SCALE.format(2.0)}, {_SCALE.format(3.0)[1:]})
    : (tensor<{_type}>) -> tensor<4xf32>
  return %r : tensor<4xf32>
}}
""",
    )
_WHILE = """func.func @main(%x: tensor<4xf32>, %limit: tensor<i32>) -> tensor<4xf32> {{
  %z = stablehlo.constant dense<0> : tensor<i32>
  %n = stablehlo.constant dense<3> : tensor<i32>
  %one = stablehlo.constant dense<1> : tensor<i32>
  %r:2 = stablehlo.while(%i = %z, %c = %x) : tensor<i32>, tensor<4xf32>
    cond {{
      %p = stablehlo.compare LT, %i, {} : (tensor<i32>, tensor<i32>) -> tensor<i1>
      stablehlo.return %p : tensor<i1>
    }} do {{
      %j = stablehlo.add %i, %one : tensor<i32>
      %d = stablehlo.sine %c : tensor<4xf32>
      stablehlo.return %j, %d : tensor<i32>, tensor<4xf32>
    }}
  return %r#1 : tensor<4xf32>
}}
"""
case("stablehlo.while", _WHILE.format("%n"))
case("stablehlo.while:by_data", _WHILE.format("%limit"))
_CALLED = """func.func private @inner(%x: tensor<4xf32>) -> tensor<4xf32> {
  %r = stablehlo.sine %x : tensor<4xf32>
  return %r : tensor<4xf32>
}
"""
for _name, _how in (
    ("func.call", "func.call @inner(%x)"),
    ("stablehlo.composite", 'stablehlo.composite "my.sine" %x {decomposition = @inner}'),
):
    case(
        _name,
        f"""{_CALLED}func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {{
  %r = {_how} : (tensor<4xf32>) -> tensor<4xf32>
  return %r : tensor<4xf32>
}}
""",
    )
one("stablehlo.optimization_barrier", "f i -> f i")
case(
    "stablehlo.tuple",
    """func.func @main(%x: tensor<4xf32>, %y: tensor<i32>) -> (tensor<i32>, tensor<4xf32>) {
  %t = stablehlo.tuple %x, %y : tuple<tensor<4xf32>, tensor<i32>>
  %a = stablehlo.get_tuple_element %t[1] : (tuple<tensor<4xf32>, tensor<i32>>) -> tensor<i32>
  %b = stablehlo.get_tuple_element %t[0] : (tuple<tensor<4xf32>, tensor<i32>>) -> tensor<4xf32>
  return %a, %b : tensor<i32>, tensor<4xf32>
}
""",
)
case(
    "stablehlo.after_all",
    """func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %s = stablehlo.create_token : !stablehlo.token
  %t = stablehlo.after_all %s, %s : !stablehlo.token
  return %x : tensor<4xf32>
}
""",
)

# Several devices

_GROUPS = "replica_groups = dense<0> : tensor<1x1xi64>"
one("stablehlo.all_gather", "f -> f", f"{_GROUPS}, all_gather_dim = 0 : i64")
one("stablehlo.all_reduce", "f -> f", _GROUPS, by("add"))
one(
    "stablehlo.all_to_all", "f -> f",
    f"{_GROUPS}, split_dimension = 0 : i64, concat_dimension = 0 : i64, split_count = 1 : i64",
)  # fmt: skip
one("stablehlo.collective_broadcast", "f -> f", _GROUPS, expected=lambda x: x)
one("stablehlo.collective_permute", "f -> f", "source_target_pairs = dense<0> : tensor<1x2xi64>")
one("stablehlo.cross-replica-sum", "f -> f", _GROUPS)
one("stablehlo.reduce_scatter", "f -> f", f"{_GROUPS}, scatter_dimension = 0 : i64", by("add"))
one("stablehlo.partition_id", "-> tensor<ui32>")
one("stablehlo.replica_id", "-> tensor<ui32>")
case(
    "stablehlo.async_start",
    f"""func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {{
  %f = "stablehlo.async_start"(%x) ({{ ^bb0(%a: tensor<4xf32>):
    %s = "stablehlo.all_reduce"(%a) <{{{_GROUPS}}}> {by("add")} : (tensor<4xf32>) -> tensor<4xf32>
    "stablehlo.return"(%s) : (tensor<4xf32>) -> () }})
    : (tensor<4xf32>) -> !stablehlo.future<tensor<4xf32>>
  %r = "stablehlo.async_done"(%f) : (!stablehlo.future<tensor<4xf32>>) -> tensor<4xf32>
  return %r : tensor<4xf32>
}}
""",
    expected=lambda x: x,
)

# Linear algebra, normalization, random numbers

one("stablehlo.custom_call", "f -> f", 'call_target_name = "Sharding"')
case(
    "stablehlo.cholesky",
    """func.func @main(%x: tensor<3x3xf32>) -> (tensor<3x3xf32>, tensor<3x3xf32>) {
  %i = stablehlo.iota dim = 0 : tensor<3x3xi32>
  %j = stablehlo.iota dim = 1 : tensor<3x3xi32>
  %e = stablehlo.compare EQ, %i, %j : (tensor<3x3xi32>, tensor<3x3xi32>) -> tensor<3x3xi1>
  %f = stablehlo.convert %e : (tensor<3x3xi1>) -> tensor<3x3xf32>
  %g = stablehlo.add %f, %f : tensor<3x3xf32>
  %h = stablehlo.dot_general %x, %x, contracting_dims = [1] x [1]
    : (tensor<3x3xf32>, tensor<3x3xf32>) -> tensor<3x3xf32>
  %a = stablehlo.add %g, %h : tensor<3x3xf32>
  %l = "stablehlo.cholesky"(%a) <{lower = true}> : (tensor<3x3xf32>) -> tensor<3x3xf32>
  %u = "stablehlo.cholesky"(%a) <{lower = false}> : (tensor<3x3xf32>) -> tensor<3x3xf32>
  %z = stablehlo.constant dense<0.0> : tensor<3x3xf32>
  %low = stablehlo.compare GE, %i, %j : (tensor<3x3xi32>, tensor<3x3xi32>) -> tensor<3x3xi1>
  %high = stablehlo.compare LE, %i, %j : (tensor<3x3xi32>, tensor<3x3xi32>) -> tensor<3x3xi1>
  %m = stablehlo.select %low, %l, %z : tensor<3x3xi1>, tensor<3x3xf32>
  %v = stablehlo.select %high, %u, %z : tensor<3x3xi1>, tensor<3x3xf32>
  return %m, %v : tensor<3x3xf32>, tensor<3x3xf32>
}
""",
)
one(
    "stablehlo.triangular_solve", "tensor<3x3xf32> tensor<3x2xf32> -> tensor<3x2xf32>",
    "left_side = true, lower = true, unit_diagonal = true, "
    "transpose_a = #stablehlo<transpose TRANSPOSE>",
)  # fmt: skip
_NORM = "epsilon = 0.001 : f32, feature_index = 1 : i64"
one("stablehlo.batch_norm_inference", "m f f f f -> m", _NORM, low=0.2)
one("stablehlo.batch_norm_training", "m f f -> m f f", _NORM)
one("stablehlo.batch_norm_grad", "m f f f m -> m f f", _NORM, low=0.2)
one(
    "stablehlo.rng", "-> f", "rng_distribution = #stablehlo<rng_distribution UNIFORM>",
    before="\n".join([scalar("x", "0.0"), scalar("y", "1.0"), ints("z", 4)]), is_random=True,
)  # fmt: skip
for _name, _type in (("", "ui32"), (":wide", "ui64"), (":narrow", "ui8")):
    one(
        f"stablehlo.rng_bit_generator{_name}",
        f"tensor<2xui64> -> tensor<2xui64> tensor<5x{_type}>",
        "rng_algorithm = #stablehlo<rng_algorithm THREE_FRY>",
    )
