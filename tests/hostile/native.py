"""Custom calls: jumps into native code that believes its operands."""

from __future__ import annotations

import errno

from tests.hostile.case import VECTOR, Case, Stop, main, one

SQUARE = "tensor<4x4xf32>"
CALLBACK = "calls back into the Python process"


def call(target: str, attributes: str = "api_version = 4 : i32") -> str:
    return one(f'stablehlo.custom_call @"{target}"(%x) {{{attributes}}} : ({VECTOR}) -> {VECTOR}')


def lapack(target: str, takes: str, gives: str, config: str = "") -> str:
    """A call with operands of the types ``takes`` that returns the first of its results."""
    operands = [kind.strip() for kind in takes.split(";")]
    names = ", ".join(f"%m{i}" for i in range(len(operands)))
    results, first = gives.count(";") + 1, gives.split(";", maxsplit=1)[0]
    return main(
        *(
            f"%m{i} = stablehlo.broadcast_in_dim %x, dims = [] : (tensor<f32>) -> {kind}"
            for i, kind in enumerate(operands)
        ),
        f"%s:{results} = stablehlo.custom_call @{target}({names})"
        f" {{api_version = 4 : i32, mhlo.backend_config = {{{config}}}}}"
        f" : ({', '.join(operands)}) -> ({gives.replace(';', ',')})",
        f"%r = stablehlo.negate %s#0 : {first}",
        takes="%x: tensor<f32>",
        gives=first,
    )


NO_FIT = "operands or settings that do not fit"
UNKNOWN = "not on jaxfs's list of known targets"
CASES: dict[str, Case] = {
    "callback": Case("jax.pure_callback", call("xla_python_cpu_callback"), Stop.CHECK, CALLBACK),
    "callback_ffi": Case(
        "jax.pure_callback, as XLA calls it now",
        call(
            "xla_ffi_python_cpu_callback",
            "api_version = 4 : i32, backend_config = {index = 1234567 : ui64}",
        ),
        Stop.CHECK,
        CALLBACK,
    ),
    "callback_partitioned": Case(
        "jax.pure_callback on several devices",
        call("xla_ffi_partitioned_python_cpu_callback"),
        Stop.CHECK,
        CALLBACK,
    ),
    "callback_escaped": Case(
        "a callback with its name in escapes",
        call(r"xla\5Fffi\5Fpython\5Fcpu\5Fcallback"),
        Stop.CHECK,
        CALLBACK,
    ),
    "callback_in_loop": Case(
        "a callback inside a loop",
        main(
            f"%r = stablehlo.while(%i = %x) : {VECTOR}",
            "cond {",
            "  %t = stablehlo.constant dense<false> : tensor<i1>",
            "  stablehlo.return %t : tensor<i1>",
            "} do {",
            "  %n = stablehlo.custom_call @xla_ffi_python_cpu_callback(%i)"
            f" : ({VECTOR}) -> {VECTOR}",
            f"  stablehlo.return %n : {VECTOR}",
            "}",
        ),
        Stop.CHECK,
        CALLBACK,
    ),
    "target_unknown": Case("a call of system()", call("system"), Stop.CHECK, UNKNOWN),
    "target_empty": Case("a call of nothing", call(""), Stop.CHECK, UNKNOWN),
    "target_nul": Case(
        "a known target, a NUL and more", call(r"Sharding\00evil"), Stop.CHECK, UNKNOWN
    ),
    "target_topk": Case("@TopK, which XLA does not check", call("TopK"), Stop.CHECK, "chlo.top_k"),
    "target_slice_to_dynamic": Case("@SliceToDynamic", call("SliceToDynamic"), Stop.CHECK, UNKNOWN),
    "target_onednn": Case(
        "@__onednn$matmul with one operand", call("__onednn$matmul"), Stop.CHECK, UNKNOWN
    ),
    "target_triton": Case(
        "a kernel of its own", call("__gpu$xla.gpu.triton"), Stop.CHECK, "kernel of its own"
    ),
    "sharding_changes_shape": Case(
        "a placement that changes the shape",
        main(
            f"%r = stablehlo.custom_call @Sharding(%x) : ({VECTOR}) -> tensor<9xf32>",
            gives="tensor<9xf32>",
        ),
        Stop.CHECK,
        "sharded over several devices",
    ),
    "config_invented": Case(
        "a known target with an invented setting",
        lapack(
            "lapack_sgesdd_ffi",
            SQUARE,
            f"{SQUARE}; tensor<4xf32>; {SQUARE}; {SQUARE}; tensor<i32>",
            "mode = 88 : ui8",
        ),
        Stop.CHECK,
        NO_FIT,
    ),
    "config_twice": Case(
        "settings that fit, and others that XLA would take",
        lapack(
            "lapack_sgesdd_ffi",
            "tensor<9x4xf32>",
            "tensor<9x4xf32>; tensor<4xf32>; tensor<9x4xf32>; tensor<4x4xf32>; tensor<i32>",
            "mode = 83 : ui8}, backend_config = {mode = 65 : ui8",
        ),
        Stop.CHECK,
        "settings twice",
    ),
    "config_is_text": Case(
        "settings in a string, which XLA would parse",
        lapack("lapack_spotrf_ffi", SQUARE, f"{SQUARE}; tensor<i32>").replace(
            "mhlo.backend_config = {}", 'backend_config = "{uplo = 76 : ui8}"'
        ),
        Stop.VERIFIER,
        "must be a dictionary",
    ),
    "config_typed": Case(
        "settings where newer programs have them",
        lapack("lapack_spotrf_ffi", SQUARE, f"{SQUARE}; tensor<i32>").replace(
            "mhlo.backend_config = {}", "backend_config = {uplo = 76 : ui8}"
        ),
        Stop.NOBODY,
        errno=0,
    ),
    "config_missing": Case(
        "a known target without its settings",
        lapack(
            "lapack_sgesdd_ffi",
            SQUARE,
            f"{SQUARE}; tensor<4xf32>; {SQUARE}; {SQUARE}; tensor<i32>",
        ),
        Stop.CHECK,
        NO_FIT,
    ),
    "config_unknown": Case(
        "a known target with one setting more",
        lapack(
            "lapack_spotrf_ffi", SQUARE, f"{SQUARE}; tensor<i32>", "uplo = 76 : ui8, evil = 1 : i64"
        ),
        Stop.ENGINE,
        errno=errno.EIO,
    ),
    "config_type": Case(
        "a setting of another type",
        lapack("lapack_spotrf_ffi", SQUARE, f"{SQUARE}; tensor<i32>", 'uplo = "L"'),
        Stop.ENGINE,
        errno=errno.EIO,
    ),
    "config_value": Case(
        "a setting LAPACK exits for",
        lapack("lapack_spotrf_ffi", SQUARE, f"{SQUARE}; tensor<i32>", "uplo = 1 : ui8"),
        Stop.ENGINE,
        errno=errno.EIO,
    ),
    "lapack_result_shape": Case(
        "a Cholesky factor larger than its matrix",
        lapack("lapack_spotrf_ffi", SQUARE, "tensor<9x9xf32>; tensor<i32>", "uplo = 76 : ui8"),
        Stop.CHECK,
        NO_FIT,
    ),
    "lapack_batch": Case(
        "two batches of different size",
        lapack(
            "lapack_sgetrf_ffi",
            "tensor<2x4x4xf32>",
            "tensor<3x4x4xf32>; tensor<2x4xi32>; tensor<2xi32>",
        ),
        Stop.CHECK,
        NO_FIT,
    ),
    "lapack_dtype": Case(
        "a routine for f64 with f32",
        lapack("lapack_dpotrf_ffi", SQUARE, f"{SQUARE}; tensor<i32>", "uplo = 76 : ui8"),
        Stop.CHECK,
        "takes f64",
    ),
    "lapack_not_square": Case(
        "eigenvalues of a matrix that is not square",
        lapack(
            "lapack_ssyevd_ffi",
            "tensor<4x3xf32>",
            "tensor<4x3xf32>; tensor<3xf32>; tensor<i32>",
            "mode = 86 : ui8, uplo = 76 : ui8",
        ),
        Stop.CHECK,
        NO_FIT,
    ),
    "lapack_no_results": Case(
        "a routine with nowhere to write to",
        main(
            "stablehlo.custom_call @lapack_spotrf_ffi() : () -> ()",
            f"%r = stablehlo.negate %x : {VECTOR}",
        ),
        Stop.CHECK,
        NO_FIT,
    ),
    "layouts_invented": Case(
        "a known call with layouts that do not fit",
        main(
            "%s:2 = stablehlo.custom_call @lapack_spotrf_ffi(%x) {api_version = 4 : i32,"
            " mhlo.backend_config = {uplo = 76 : ui8},"
            " operand_layouts = [dense<[1, 0]> : tensor<2xindex>],"
            " result_layouts = [dense<[1, 0]> : tensor<2xindex>, dense<> : tensor<0xindex>]}"
            f" : ({SQUARE}) -> ({SQUARE}, tensor<i32>)",
            f"%r = stablehlo.negate %s#0 : {SQUARE}",
            takes=f"%x: {SQUARE}",
            gives=SQUARE,
        ),
        Stop.ENGINE,
        "attributes",
        errno.EIO,
    ),
    "aliasing_invented": Case(
        "a known call whose results lie in operands that are not there",
        main(
            "%s:2 = stablehlo.custom_call @lapack_spotrf_ffi(%x) {api_version = 4 : i32,"
            " mhlo.backend_config = {uplo = 76 : ui8}, output_operand_aliases ="
            " [#stablehlo.output_operand_alias<output_tuple_indices = [0], operand_index = 7,"
            " operand_tuple_indices = []>]}"
            f" : ({SQUARE}) -> ({SQUARE}, tensor<i32>)",
            f"%r = stablehlo.negate %s#0 : {SQUARE}",
            takes=f"%x: {SQUARE}",
            gives=SQUARE,
        ),
        Stop.VERIFIER,
        "output_operand_alias",
    ),
}
