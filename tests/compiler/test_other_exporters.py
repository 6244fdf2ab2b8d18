"""Programs in the forms that other tools write run as their authors' tools run them."""

from __future__ import annotations

import io
import re
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from jaxlib.mlir import ir

from jaxfs.errors import Invalid, NotSupported
from jaxfs.jaxcompat import executables
from jaxfs.jaxcompat.mlir import make_context
from jaxfs.types.signature import Signature
from tests.compiler.conftest import BlockingTracer


class Row(NamedTuple):
    """A program, its transformations, its inputs, and its outputs."""

    source: str
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    steps: tuple[str, ...] = ()


def one(expression: str, of: str = "tensor<f32>", to: str | None = None) -> str:
    """A function of ``%x`` with a single operation."""
    to = to or of
    return f"func.func @main(%x: {of}) -> {to} {{\n  %0 = {expression}\n  return %0 : {to}\n}}"


def constant(value: str, of: str, dialect: str = "stablehlo") -> str:
    """A function without arguments that returns a constant."""
    return (
        f"func.func @main() -> {of} {{\n  %0 = {dialect}.constant {value} : {of}\n"
        f"  return %0 : {of}\n}}"
    )


def mhlo(name: str) -> str:
    call = (
        f"stablehlo.custom_call @mhlo.{name}(%x) {{mhlo.attributes = {{}}, mhlo.version = 1 : i64}}"
    )
    return one(f"{call} : (tensor<f32>) -> tensor<f32>")


def resource(of: str, data: str) -> str:
    """A constant in the resource section of a file; its data begins with its alignment."""
    section = f'dialect_resources: {{ builtin: {{ w: "0x04000000{data}" }} }}'
    return f"{constant('dense_resource<w>', of)}\n{{-# {section} #-}}\n"


TOP_K = """func.func @main(%x: tensor<5xf32>) -> (tensor<2xf32>, tensor<2xi32>) {
  %v, %i = "stablehlo.custom_call"(%x) {call_target_name = "mhlo.topk",
    mhlo.attributes = {k = 2 : i64, largest = true}, mhlo.version = 1 : i64}
    : (tensor<5xf32>) -> (tensor<2xf32>, tensor<2xi32>)
  return %v, %i : tensor<2xf32>, tensor<2xi32>
}"""
ATTRIBUTES = """module @dump attributes {
    acme.meshes = #acme.meshes<[<"mesh" = 1x1>]>, acme.version = "0.3"} {
  func.func @main(%w: tensor<2xf32> {acme.argument_type = #acme.argument_type<parameter>},
                  %x: tensor<2xf32>) -> tensor<2xf32> attributes {acme.nested = [{a = #acme.b}]} {
    %0 = stablehlo.multiply %w, %x {acme.layout = #acme.layout<0, 1>} : tensor<2xf32>
    return %0 : tensor<2xf32>
  }
}
"""
MANUAL = """module {
  sdy.mesh @mesh = <["x"=1]>
  func.func @main(%arg0: tensor<4xf32>) -> tensor<4xf32> {
    %c = sdy.constant dense<1.0> : tensor<4xf32>
    %0 = sdy.manual_computation(%arg0) in_shardings=[<@mesh, [{"x"}]>]
        out_shardings=[<@mesh, [{"x"}]>] manual_axes={"x"} (%arg1: tensor<4xf32>) {
      %1 = stablehlo.multiply %arg1, %arg1 : tensor<4xf32>
      sdy.return %1 : tensor<4xf32>
    } : (tensor<4xf32>) -> tensor<4xf32>
    %2 = stablehlo.multiply %0, %c : tensor<4xf32>
    return %2 : tensor<4xf32>
  }
}
"""
_SHARDING = r"[<@mesh, [{\\22x\\22}, {\\22y\\22}]>]".replace("\\\\", "\\")
ROUND_TRIP = """module @jit_f attributes {mhlo.frontend_attributes = {
    xla.sdy.meshes = "{mesh = #sdy.mesh<[\\22x\\22=1, \\22y\\22=1]>}"}} {
  func.func public @main(%arg0: tensor<2x2xf32>) -> tensor<2x2xf32> {
    %0 = stablehlo.custom_call @xla.sdy.GlobalToLocalShape(%arg0) {has_side_effect = true,
      mhlo.frontend_attributes = {xla.sdy.in_shardings = "#sdy.sharding_per_value<SHARDING>",
      xla.sdy.manual_axes = "#sdy<manual_axes{\\22x\\22, \\22y\\22}>"}}
      : (tensor<2x2xf32>) -> tensor<2x2xf32>
    %1 = call @xla.sdy.manual_computation_body(%0) : (tensor<2x2xf32>) -> tensor<2x2xf32>
    %2 = stablehlo.custom_call @xla.sdy.LocalToGlobalShape(%1) {
      mhlo.frontend_attributes = {xla.sdy.manual_axes = "#sdy<manual_axes{\\22x\\22, \\22y\\22}>",
      xla.sdy.out_shardings = "#sdy.sharding_per_value<SHARDING>"}}
      : (tensor<2x2xf32>) -> tensor<2x2xf32>
    %3 = stablehlo.custom_call @xla.sdy.FuncResultSharding(%2) {has_side_effect = true,
      mhlo.frontend_attributes = {xla.sdy.sharding = "#sdy.sharding_per_value<SHARDING>"}}
      : (tensor<2x2xf32>) -> tensor<2x2xf32>
    return %3 : tensor<2x2xf32>
  }
  func.func private @xla.sdy.manual_computation_body(%arg0: tensor<2x2xf32>) -> tensor<2x2xf32> {
    %0 = stablehlo.add %arg0, %arg0 : tensor<2x2xf32>
    return %0 : tensor<2x2xf32>
  }
}
""".replace("SHARDING", _SHARDING)
FORWARD = """func.func private @twice(%x: tensor<2xf32>) -> tensor<2xf32> {
  %0 = stablehlo.add %x, %x : tensor<2xf32>
  return %0 : tensor<2xf32>
}
func.func @forward(%image: tensor<2xf32>) -> tensor<2xf32> {
  %0 = call @twice(%image) : (tensor<2xf32>) -> tensor<2xf32>
  return %0 : tensor<2xf32>
}
"""
ROWS: dict[str, Row] = {
    "erf": Row(mhlo("erf"), (0.5,), (0.5204999,)),
    "derivative of erf": Row(mhlo("erf"), (0.5,), (0.8787826,), ("grad",)),
    "asinh": Row(mhlo("asinh"), (0.5,), (0.4812118,)),
    "derivative of asinh": Row(mhlo("asinh"), (0.5,), (0.8944272,), ("grad",)),
    "acosh": Row(mhlo("acosh"), (2.0,), (np.arccosh(2.0),)),
    "atanh": Row(mhlo("atanh"), (0.5,), (np.arctanh(0.5),)),
    "sinh": Row(mhlo("sinh"), (0.5,), (np.sinh(0.5),)),
    "cosh": Row(mhlo("cosh"), (0.5,), (np.cosh(0.5),)),
    "tan": Row(mhlo("tan"), (0.5,), (np.tan(0.5),)),
    "largest": Row(TOP_K, ([3, 9, 1, 9, 4],), ([9, 9], [1, 3])),
    "largest by rows": Row(
        TOP_K,
        ([[3, 9, 1, 9, 4], [5, 6, 7, 8, 9]],),
        ([[9, 9], [9, 8]], [[1, 3], [4, 3]]),
        ("vmap:axis_size=2",),
    ),
    "attributes of another tool": Row(ATTRIBUTES, ([1, 2], [10, 20]), ([10, 40],)),
    "shard_map on one device": Row(MANUAL, ([1, 2, 3, 4],), ([1, 4, 9, 16],)),
    "shard_map on one device by rows": Row(
        MANUAL, ([[1, 2, 3, 4]],), ([[1, 4, 9, 16]],), ("vmap:axis_size=1",)
    ),
    "shardy as custom calls": Row(ROUND_TRIP, ([[1, 2], [3, 4]],), ([[2, 4], [6, 8]],)),
    "constant of shardy": Row(
        constant("dense<(1.0,2.0)>", "tensor<complex<f32>>", "sdy"), (), (1 + 2j,)
    ),
    "weights in resources": Row(resource("tensor<2xf32>", "0000803F00000040"), (), ([1, 2],)),
    "bf16 in resources": Row(resource("tensor<2xbf16>", "803F0040"), (), ([1, 2],)),
    "complex in resources": Row(
        resource("tensor<1xcomplex<f32>>", "0000803F00000040"), (), ([1 + 2j],)
    ),
    "bits in resources": Row(resource("tensor<10xi1>", "0102"), (), ([True, *[False] * 8, True],)),
    "bytes as booleans in resources": Row(resource("tensor<2xi1>", "0100"), (), ([True, False],)),
    "sparse": Row(
        constant("sparse<[[1], [2]], [1.5, 2.0]>", "tensor<4xbf16>"), (), ([0, 1.5, 2, 0],)
    ),
    "sparse and equal": Row(constant("sparse<[[0, 1]], 3>", "tensor<1x2xui8>"), (), ([[0, 3]],)),
    "entry with another name": Row(FORWARD, ([1, 2],), ([2, 4],)),
}


@pytest.mark.parametrize("name", ROWS)
def test_forms_of_other_exporters_compile(tracer: BlockingTracer, name: str) -> None:
    row = ROWS[name]
    found = tracer.made(row.source, steps=row.steps)(*row.inputs)
    assert len(found) == len(row.outputs)
    for output, expected in zip(found, row.outputs, strict=True):
        np.testing.assert_allclose(output.astype(np.asarray(expected).dtype), expected, rtol=1e-6)


def unregistered_bytecode(source: str) -> bytes:
    context = make_context()
    context.allow_unregistered_dialects = True
    data = io.BytesIO()
    ir.Module.parse(source, context).operation.write_bytecode(data)
    return data.getvalue()


def test_attributes_of_another_tool_in_bytecode_are_dropped(tracer: BlockingTracer) -> None:
    made = tracer.made(unregistered_bytecode(ATTRIBUTES))
    assert made([1, 2], [10, 20])[0].tolist() == [10, 40]


def test_resources_in_bytecode_become_dense(tracer: BlockingTracer) -> None:
    source = resource("tensor<2xf32>", "0000803F00000040")
    assert tracer.made(unregistered_bytecode(source))()[0].tolist() == [1, 2]


def test_entry_with_another_name_keeps_the_names_of_its_arguments(tracer: BlockingTracer) -> None:
    assert "in 0 image f32[2]" in tracer.made(FORWARD).signature


REFUSED: dict[str, tuple[str | bytes, str]] = {
    "smallest": (
        TOP_K.replace("true", "false"),
        "line 2: custom call @mhlo.topk asks for the small",
    ),
    "k too large": (TOP_K.replace("k = 2", "k = 6"), "@mhlo.topk has k = 6, of 5 elements"),
    "erf of integers": (
        mhlo("erf").replace("f32", "i32"),
        r"line 2: custom call @mhlo.erf has types that chlo.erf does not take: \(tensor<i32>\)",
    ),
    "settings of another tool": (
        one(
            "stablehlo.custom_call @lapack_spotrf_ffi(%x) {mhlo.backend_config = {a = #acme.b}}"
            " : (tensor<f32>) -> tensor<f32>"
        ),
        "line 2: stablehlo.custom_call has an attribute of an unknown dialect in mhlo.backend",
    ),
    "operation of another tool": (
        one('"strange.op"(%x) : (tensor<f32>) -> tensor<f32>'),
        "line 2: strange.op is no StableHLO operation",
    ),
    "operation of another tool in its own form": (
        one("strange.op %x : tensor<f32>"),
        "line 2: strange.op is no StableHLO operation",
    ),
    "type of another tool": ("func.func @main(%x: !acme.t<3>) { return }", "only arrays"),
    "elided": (
        constant("dense_resource<__elided__>", "tensor<64xf32>"),
        r"line 2: the constant was left out when .* \(__elided__\); print it whole, or write bytec",
    ),
    "no resource": (constant("dense_resource<w>", "tensor<2xf32>"), "line 2: .*no resource w"),
    "resource of another size": (
        resource("tensor<3xf32>", "0000803F"),
        r"line 2: the resource w has 4 bytes, and f32\[3\] takes 12",
    ),
    "bits in a sparse constant": (
        constant("sparse<[[0]], [0x7FC00000]>", "tensor<3xf32>"),
        "line 2: the constant has a sparse form that is not read; write it as dense",
    ),
    "shardy as custom calls on two devices": (
        ROUND_TRIP.replace("=1,", "=2,"),
        "@xla.sdy.GlobalToLocalShape is part of a shard_map over several devices",
    ),
    "routine of a GPU of an older jaxlib": (
        one(
            "stablehlo.custom_call @cusolver_syevj(%x)"
            ' {backend_config = "abc", api_version = 2 : i32}'
            " : (tensor<f32>) -> tensor<f32>"
        ),
        "line 2: custom call @cusolver_syevj is a routine of a GPU .* export the function for cpu",
    ),
    "bytes of a kernel in a string": (
        one(
            "stablehlo.custom_call @triton_kernel_call(%x)"
            ' {backend_config = "\\8A\\FF(kernel", api_version = 2 : i32}'
            " : (tensor<f32>) -> tensor<f32>"
        ),
        "line 2: custom call @triton_kernel_call carries a kernel of its own",
    ),
    "several programs": (
        f"{mhlo('erf')}\n// -----\n{mhlo('erf')}",
        'the file holds 2 programs, split by "// -----"; write them one by one',
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_forms_that_mean_nothing_here_are_refused_in_words(
    tracer: BlockingTracer, name: str
) -> None:
    source, message = REFUSED[name]
    with pytest.raises(Invalid) as caught:
        tracer.trace(source)
    assert re.search(message, caught.value.reason), caught.value.reason


HINT = """module attributes {mhlo.frontend_attributes = {
    xla.sdy.meshes = "{mesh = #sdy.mesh<[\\22x\\22=2]>}"}} {
  func.func public @main(%x: tensor<2xf32>) -> tensor<2xf32> {
    %0 = stablehlo.custom_call @xla.sdy.TARGET(%x) {has_side_effect = true,
      mhlo.frontend_attributes = {xla.sdy.sharding =
      "#sdy.sharding_per_value<[<@mesh, [{\\22x\\22}]>]>"}} : (tensor<2xf32>) -> tensor<2xf32>
    return %0 : tensor<2xf32>
  }
}
"""


@pytest.mark.parametrize("target", ["FuncResultSharding", "Sharding", "PropagationBarrier"])
def test_shardys_hints_as_custom_calls_go_on_several_devices(
    tracer: BlockingTracer, target: str
) -> None:
    traced, _, text = tracer.trace(HINT.replace("TARGET", target))
    assert traced.partitions == 2
    assert b"custom_call" not in text


SCAN = """func.func @main(%x: tensor<3xf32>, %c: tensor<f32>) -> (tensor<3xf32>, tensor<f32>) {
  %0:2 = "chlo.scan"(%x, %c) <{dimension = 0 : i64, operandSegmentSizes = array<i32: 1, 1>,
      resultSegmentSizes = array<i32: 1, 1>}> ({ ^bb0(%a: tensor<f32>, %b: tensor<f32>):
    %s = stablehlo.add %a, %b : tensor<f32>
    stablehlo.return %s, %s : tensor<f32>, tensor<f32>
  }) : (tensor<3xf32>, tensor<f32>) -> (tensor<3xf32>, tensor<f32>)
  return %0#0, %0#1 : tensor<3xf32>, tensor<f32>
}"""
RAGGED_DOT = """
func.func @main(%a: tensor<3x2xf32>, %b: tensor<2x2x2xf32>, %s: tensor<2xi32>) -> tensor<3x2xf32> {
  %0 = "chlo.ragged_dot"(%a, %b, %s) <{
    precision_config = [#chlo<precision DEFAULT>, #chlo<precision DEFAULT>],
    ragged_dot_dimension_numbers = #chlo.ragged_dot<lhs_contracting_dimensions = [1],
    rhs_contracting_dimensions = [1], lhs_ragged_dimensions = [0], rhs_group_dimensions = [0]>}>
    : (tensor<3x2xf32>, tensor<2x2x2xf32>, tensor<2xi32>) -> tensor<3x2xf32>
  return %0 : tensor<3x2xf32>
}"""
COMPLEX_CBRT = one("stablehlo.cbrt %x : tensor<complex<f32>>", "tensor<complex<f32>>")
NESTED_TUPLES = """func.func @main(%x: tensor<f32>, %y: tensor<f32>) -> tensor<f32> {
  %t = stablehlo.tuple %x, %y : tuple<tensor<f32>, tensor<f32>>
  %u = stablehlo.tuple %t, %x : tuple<tuple<tensor<f32>, tensor<f32>>, tensor<f32>>
  %v = stablehlo.get_tuple_element %u[0]
    : (tuple<tuple<tensor<f32>, tensor<f32>>, tensor<f32>>) -> tuple<tensor<f32>, tensor<f32>>
  %w = stablehlo.get_tuple_element %v[1] : (tuple<tensor<f32>, tensor<f32>>) -> tensor<f32>
  return %w : tensor<f32>
}"""


def test_operations_without_a_stored_form_are_lowered_again(tracer: BlockingTracer) -> None:
    stacked, last = tracer.made(SCAN)([1, 2, 3], 10)
    assert (stacked.tolist(), last.tolist()) == ([11, 13, 16], 16)


def test_tuples_that_the_program_makes_are_taken_apart(tracer: BlockingTracer) -> None:
    assert tracer.made(NESTED_TUPLES)(1, 2)[0].tolist() == 2


def test_what_xla_has_no_code_for_is_compiled_as_jax_lowers_it(tracer: BlockingTracer) -> None:
    (found,) = run(*built(tracer, RAGGED_DOT), np.eye(3, 2), np.arange(8).reshape(2, 2, 2), [1, 2])
    np.testing.assert_array_equal(found, [[0, 1], [6, 7], [0, 0]])
    (root,) = run(*built(tracer, COMPLEX_CBRT), 8j)
    np.testing.assert_allclose(root**3, 8j, rtol=1e-5, atol=1e-5)


def built(tracer: BlockingTracer, source: str) -> tuple[Signature, bytes]:
    traced, _, executable, _ = tracer.build(source)
    return traced.signature, executable


def run(signature: Signature, executable: bytes, *inputs: Any) -> list[Any]:
    """Loads and calls an executable in this process."""
    loaded = executables.deserialize(executable, jax.devices("cpu")[:1])
    pairs = zip(inputs, signature.input_avals, strict=True)
    with jax.enable_x64(True):
        call = executables.make_callable(loaded, signature)
        return [np.asarray(one) for one in call(*(np.asarray(x, a.row.numpy) for x, a in pairs))]


HESSENBERG = """func.func @main(%x: tensor<2x2xf32>) -> tensor<f32> {
  %a, %t, %i = stablehlo.custom_call @lapack_sgehrd_ffi(%x)
    {mhlo.backend_config = {low = 1 : i32, high = 2 : i32}}
    : (tensor<2x2xf32>) -> (tensor<2x2xf32>, tensor<1xf32>, tensor<i32>)
  %c = stablehlo.constant dense<0.0> : tensor<f32>
  %s = stablehlo.reduce(%a init: %c) applies stablehlo.add across dimensions = [0, 1]
    : (tensor<2x2xf32>, tensor<f32>) -> tensor<f32>
  return %s : tensor<f32>
}"""


def test_custom_calls_without_a_derivative_have_their_targets_name(tracer: BlockingTracer) -> None:
    with pytest.raises(NotSupported, match=r"custom_call @lapack_sgehrd_ffi at line 2 has no der"):
        tracer.ask(HESSENBERG, steps=("grad",))
