"""A custom call passes only with the types its native code trusts."""

from __future__ import annotations

import pytest

from jaxfs.stablehlo.validate.custom_call_targets import refusal
from jaxfs.types.avals import Aval, parse_aval

GEEV = "f32[4,4] -> f32[4,4] c64[4] f32[4,4] f32[4,4] i32[]"


def avals(text: str) -> list[Aval | None]:
    return [parse_aval(word) for word in text.split()]


def why_not(target: str, types: str, **config: str) -> str | None:
    operands, results = types.split("->")
    numbers = {name: ord(letter) for name, letter in config.items()}
    return refusal(target, avals(operands), avals(results), numbers)


@pytest.mark.parametrize(
    ("target", "types", "config"),
    [
        ("lapack_spotrf_ffi", "f32[4,4] -> f32[4,4] i32[]", {}),
        ("lapack_zpotrf_ffi", "c128[2,3,4,4] -> c128[2,3,4,4] i32[2,3]", {}),
        ("lapack_sgeqrf_ffi", "f32[9,7] -> f32[9,7] f32[7]", {}),
        ("lapack_cheevd_ffi", "c64[4,4] -> c64[4,4] f32[4] i32[]", {}),
        ("lapack_sgeev_ffi", "f32[4,4] -> f32[4] f32[4] c64[4,4] c64[4,4] i32[]", {}),
        ("lapack_cgeev_ffi", "c64[4,4] -> c64[4] c64[4,4] c64[4,4] i32[]", {}),
        (
            "lapack_sgesdd_ffi",
            "f32[9,7] -> f32[9,7] f32[7] f32[9,9] f32[7,7] i32[]",
            {"mode": "A"},
        ),
        (
            "lapack_sgesdd_ffi",
            "f32[9,7] -> f32[9,7] f32[7] f32[9,7] f32[7,7] i32[]",
            {"mode": "S"},
        ),
        ("lapack_strsm_ffi", "f32[4,4] f32[4,2] -> f32[4,2]", {"side": "L"}),
        ("cusolver_getrf_ffi", "f64[5,9,7] -> f64[5,9,7] i32[5,7] i32[5]", {}),
        ("Sharding", "f32[4] -> f32[4]", {}),
        ("cuhybrid_eig_real", "f32[2,4,4] -> f32[2,4] f32[2,4] c64[2,4,4] c64[2,4,4] i32[2]", {}),
        ("hiphybrid_eig_comp", "c64[4,4] -> c64[4] c64[4,4] c64[4,4] i32[]", {}),
        ("cuhybrid_geqp3", "f32[5,3] i32[3] -> f32[5,3] i32[3] f32[3]", {}),
        ("cusolver_geev_ffi", GEEV, {"left": "\0"}),
        ("Qr", "f32[5,3] -> f32[5,3] f32[3]", {}),
        ("LuDecomposition", "f32[5,3] -> f32[5,3] i32[3] i32[5]", {}),
        ("Eigh", "f32[4,4] -> f32[4,4] f32[4]", {}),
    ],
)
def test_what_jax_emits_passes(target: str, types: str, config: dict[str, str]) -> None:
    assert why_not(target, types, **config) is None


@pytest.mark.parametrize(
    ("target", "types", "config"),
    [
        ("lapack_spotrf_ffi", "f32[4,4] -> f32[2,2] i32[]", {}),
        ("lapack_spotrf_ffi", "f32[4,5] -> f32[4,5] i32[]", {}),
        ("lapack_spotrf_ffi", "f32[3,4,4] -> f32[3,4,4] i32[2]", {}),
        ("lapack_spotrf_ffi", "f32[4,4] -> f32[4,4]", {}),
        ("lapack_sgeqrf_ffi", "f32[9,7] -> f32[9,7] f32[6]", {}),
        ("lapack_sgetrf_ffi", "f32[4,4] -> f32[4,4] f32[4] i32[]", {}),
        (  # mode A writes a 9x9 matrix whatever the buffer's size
            "lapack_sgesdd_ffi",
            "f32[9,7] -> f32[9,7] f32[7] f32[9,7] f32[7,7] i32[]",
            {"mode": "A"},
        ),
        ("lapack_strsm_ffi", "f32[4,4] f32[4,2] -> f32[4,2]", {"side": "R"}),
        ("lapack_strsm_ffi", "f32[4,4] f32[4,2] -> f32[4,2]", {}),
        # real and complex handlers read different numbers of bytes
        ("cuhybrid_eig_real", "c64[4,4] -> f32[4] f32[4] c64[4,4] c64[4,4] i32[]", {}),
        ("cuhybrid_eig_comp", "f32[4,4] -> c64[4] c64[4,4] c64[4,4] i32[]", {}),
        ("cuhybrid_geqp3", "f32[5,3] i32[5] -> f32[5,3] i32[5] f32[3]", {}),
        ("cuhybrid_geqp3", "i32[5,3] i32[3] -> i32[5,3] i32[3] i32[3]", {}),
        ("cusolver_gesvdp_ffi", "f32[5,3] -> f32[5,3] f32[3] f32[5,3] f32[3,3] i32[]", {}),
        ("cusolver_syrk_ffi", "f32[4,3] f32[3,3] f32[] f32[] -> f32[3,3]", {"transpose": "\0"}),
        ("cusolver_geev_ffi", GEEV, {"left": "\1"}),
        ("LuDecomposition", "f32[5,3] -> f32[5,3] i32[3] i32[3]", {}),
        ("Eigh", "f32[4,4] -> f32[4,4] f32[3]", {}),
    ],
)
def test_inconsistent_shapes_are_refused(target: str, types: str, config: dict[str, str]) -> None:
    assert "expected" in (why_not(target, types, **config) or "")


def test_element_type_must_be_the_routines_own() -> None:
    assert why_not("lapack_dpotrf_ffi", "f32[4,4] -> f32[4,4] i32[]") == "takes f64, found f32[4,4]"


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("xla_python_cpu_callback", "calls back"),
        ("xla_ffi_python_cpu_callback", "calls back"),
        ("xla_ffi_partitioned_python_cpu_callback", "calls back"),
        ("TopK", "TopK"),
        ("AllocateBuffer", "memory of earlier calls"),
        ("__gpu$xla.gpu.triton", "kernel of its own"),
        ("mosaic_gpu_v2", "kernel of its own"),
        ("cu_cholesky_update_ffi", "the whole GPU at once"),
        ("__cudnn$fmhaSoftmax", "use implementation='xla'"),
        ("lapack_sfoo_ffi", "not on jaxfs's list"),
        ("__onednn$matmul", "not on jaxfs's list"),
        ("SliceToDynamic", "not on jaxfs's list"),
        ("system", "not on jaxfs's list"),
    ],
)
def test_other_targets_are_refused_by_name(target: str, reason: str) -> None:
    assert reason in (why_not(target, "f32[4] -> f32[4]") or "")


def test_value_that_is_no_array_is_refused() -> None:
    why = refusal("lapack_spotrf_ffi", [None], avals("f32[4,4] i32[]"), {})
    assert why == "has operands or results that are no arrays"
