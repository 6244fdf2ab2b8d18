"""What is no program, or none jaxfs runs, says so in the words of its writer."""

from __future__ import annotations

import pickle

import pytest

from jaxfs.errors import Invalid, NoDevice, NoSpace
from jaxfs.types.xla_errors import compile_error
from tests.compiler.conftest import SAXPY, BlockingTracer, compile_cpu
from tests.compiler.test_sources import bytecode, portable


def body(*lines: str, result: str = "tensor<4xf32>") -> str:
    inner = "\n".join(f"  {line}" for line in lines)
    return (
        f"func.func @main(%x: tensor<4xf32>) -> {result} {{\n{inner}\n  return %r : {result}\n}}\n"
    )


NESTED_TYPES = "func.func @main(%x: " + "tuple<" * 5000 + ">" * 5000 + ") { return }"
NESTED_IFS = (
    "func.func @main(%p: tensor<i1>) {\n"
    + '"stablehlo.if"(%p) ({\n' * 1000
    + "}, {}) : (tensor<i1>) -> ()\n" * 1000
    + "return }"
)
REFUSED: dict[str, tuple[str | bytes, str]] = {
    "empty": (b"", "the file is empty"),
    "white space": (b"\n \n", "only white space"),
    "prose": ("hello world", "line 1: not a program: .*'hello'"),
    "binary": (bytes(range(256)), "not a program: binary data"),
    "latin-1": (
        "// caf\xe9\n".encode("latin-1"),
        r"not a program: neither StableHLO text \(byte 6 is not UTF-8\)",
    ),
    "numpy array": (b"\x93NUMPY\x01\x00", "this is a .npy array"),
    "old pickle": (pickle.dumps(complex, 0), "a pickle of protocol 0 or 1"),
    "python": ("def f(x): return x\n", "this is Python source"),
    "hlo text": ("HloModule m, is_scheduled=true\n", "HLO text"),
    "truncated text": (SAXPY[:200], "line 4: expected"),
    "truncated bytecode": (bytecode(SAXPY)[:120], "MLIR bytecode that is cut off"),
    "truncated artifact": (portable(SAXPY)[:200], "portable artifact that is cut off"),
    "name not UTF-8": (bytecode(SAXPY).replace(b"main", b"\xffain"), "is not UTF-8"),
    "unknown op": (SAXPY.replace("add", "plus"), "line 5: custom op 'stablehlo.plus' is unknown"),
    "type error": (SAXPY.replace("dense<2.0> : tensor<16x", "dense<2.0> : tensor<8x"), "line 4: "),
    "no main": (
        "func.func @f() { return }\nfunc.func @g() { return }\nfunc.func private @h() { return }",
        "no function @main to run, found @f, @g; name the entry main",
    ),
    "private main": (SAXPY.replace("public @", "private @"), "line 2: @main is private"),
    "no functions": ("module {}", "found no function at all"),
    "declared only": ("func.func private @main(tensor<f32>) -> tensor<f32>", "private"),
    "no body": (
        "func.func @main() { return }\nfunc.func private @f(tensor<f32>) -> tensor<f32>",
        "line 2: @f has no body",
    ),
    "unranked": ("func.func @main(%x: tensor<*xf32>) { return }", "argument 0 .*only arrays"),
    "f6": ("func.func @main(%x: tensor<2xf6E2M3FN>) { return }", "f6E2M3FN is not supported"),
    "f6 inside": (
        body(
            "%a = stablehlo.convert %x : (tensor<4xf32>) -> tensor<4xf6E3M2FN>",
            "%r = stablehlo.convert %a : (tensor<4xf6E3M2FN>) -> tensor<4xf32>",
        ),
        "line 2: stablehlo.convert has a value of type tensor<4xf6E3M2FN>",
    ),
    "tuple argument": ("func.func @main(%x: tuple<tensor<f32>>) { return }", "only arrays"),
    "overflowing shape": (
        "func.func @main(%x: tensor<4611686018427387904x8xf32>) { return }",
        r"over 2\^46 elements",
    ),
    "outfeed": (
        body(
            "%t = stablehlo.create_token : !stablehlo.token",
            '%u = "stablehlo.outfeed"(%x, %t) : (tensor<4xf32>, !stablehlo.token)'
            " -> !stablehlo.token",
            "%r = stablehlo.negate %x : tensor<4xf32>",
        ),
        "line 3: stablehlo.outfeed talks to the host",
    ),
    "other dialect": (
        "func.func @main() -> tensor<f32> {\n"
        "  %0 = arith.constant dense<1.0> : tensor<f32>\n  return %0 : tensor<f32>\n}",
        "line 2: arith.constant is no StableHLO operation",
    ),
    "unknown target": (
        body("%r = stablehlo.custom_call @system(%x) : (tensor<4xf32>) -> tensor<4xf32>"),
        "line 2: custom call @system is not on jaxfs's list",
    ),
    "callback": (
        body(
            "%r = stablehlo.custom_call @xla_ffi_python_cpu_callback(%x)"
            " {api_version = 4 : i32} : (tensor<4xf32>) -> tensor<4xf32>"
        ),
        "@xla_ffi_python_cpu_callback calls back into the Python process",
    ),
    "lapack shapes": (
        body(
            "%s:2 = stablehlo.custom_call @lapack_spotrf_ffi(%m)"
            " : (tensor<2x2xf32>) -> (tensor<9x9xf32>, tensor<i32>)",
            "%r = stablehlo.negate %x : tensor<4xf32>",
        ).replace("{\n", "{\n  %m = stablehlo.constant dense<1.0> : tensor<2x2xf32>\n", 1),
        "lapack_spotrf_ffi has operands or settings that do not fit",
    ),
    "recursion": (
        "func.func @main(%x: tensor<f32>) -> tensor<f32> {\n"
        "  %0 = call @main(%x) : (tensor<f32>) -> tensor<f32>\n  return %0 : tensor<f32>\n}",
        "@main calls itself",
    ),
    "exploding calls": (
        "func.func @main() { call @f0() : () -> ()\n return }\n"
        + "".join(
            f"func.func private @f{i}() {{ call @f{i + 1}() : () -> ()\n"
            f" call @f{i + 1}() : () -> ()\n return }}\n"
            for i in range(40)
        )
        + "func.func private @f40() { return }\n",
        "operations with its calls inlined",
    ),
    "nested types": (NESTED_TYPES, "line 1: nested over 200 deep"),
    "nested regions": (NESTED_IFS, "nested over 200 deep"),
    "several replicas": (
        SAXPY.replace("@saxpy", "@saxpy attributes {mhlo.num_replicas = 4 : i32}"),
        "for 4 replicas .* transformations/pmap",
    ),
    "two numbers of devices": (
        SAXPY.replace("@saxpy", "@saxpy attributes {mhlo.num_partitions = 4 : i32}").replace(
            "func.func", 'sdy.mesh @mesh = <["x"=2]>\n  func.func', 1
        ),
        "for 4 devices, with meshes of \\[2\\]",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_source_is_refused_with_its_reason(tracer: BlockingTracer, name: str) -> None:
    source, reason = REFUSED[name]
    with pytest.raises(Invalid, match=reason):
        tracer.trace(source)


def test_unknown_options_are_refused_of_stablehlo_too(tracer: BlockingTracer) -> None:
    with pytest.raises(Invalid, match="there is no option 'donate'; did you mean donate_argnums"):
        tracer.ask(SAXPY, options={"donate": "0"})


def test_diagnostics_show_the_source_line(tracer: BlockingTracer) -> None:
    with pytest.raises(Invalid) as caught:
        tracer.trace(SAXPY.replace("stablehlo.add", "stablehlo.plus"))
    line, mark, *_ = caught.value.diagnostics.splitlines()
    assert line == "    %1 = stablehlo.plus %0, %y : tensor<16xf32>"
    assert mark.index("^") == line.index("stablehlo.plus")


def test_compiler_error_carries_its_message(tracer: BlockingTracer) -> None:
    source = (
        "func.func @main(%x: tensor<5xcomplex<f32>>) -> tensor<2xi32> {\n"
        "  %v, %i = chlo.top_k(%x, k = 2)"
        " : tensor<5xcomplex<f32>> -> (tensor<2xcomplex<f32>>, tensor<2xi32>)\n"
        "  return %i : tensor<2xi32>\n}"
    )
    with pytest.raises(Invalid, match=r"the compiler refused the program: .*complex comparison"):
        tracer.build(source)


def test_compiler_out_of_memory_is_no_fault_of_the_program() -> None:
    error = compile_error("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nat f.cc:1")
    assert isinstance(error, NoSpace)
    assert error.reason == "the compiler ran out of memory: Out of memory allocating 9 bytes."
    assert error.diagnostics.endswith("at f.cc:1")


def test_unknown_device_is_refused(tracer: BlockingTracer) -> None:
    traced, artifact, _ = tracer.trace(SAXPY)
    with pytest.raises(NoDevice, match="no device cpu:2, only 2"):
        tracer.run(compile_cpu, artifact, traced.signature, ((2,), 2))
