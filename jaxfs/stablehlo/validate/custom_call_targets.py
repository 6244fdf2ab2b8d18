"""The custom calls that may pass, and the types they may have.

A custom call jumps into native code that trusts its operands: a LAPACK call with inconsistent
shapes writes past its buffers, silently.  So a target passes only if it has a rule here, made from
what ``jax.lax.linalg`` emits, and only if its types fit that rule.

A rule is written like ``T[* n n] -> T[* n n] i32[*]``:

- ``*`` is any batch dimensions; a letter is a dimension, equal wherever the letter occurs;
- ``k`` is min(m, n), which come before it; ``n-1`` is one less than n;
- ``T`` is the element type of the first operand, ``R`` its real type, ``C`` its complex type.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from jaxfs.stablehlo.module.partitions import PLACEMENT_TARGETS
from jaxfs.types.avals import Aval
from jaxfs.types.compile_target import matching_name

_TYPE = re.compile(r"(\w+)\[([^\]]*)\]")
_REAL = {"c64": "f32", "c128": "f64"}
_COMPLEX = {"f32": "c64", "f64": "c128"}
_LAPACK_LETTER = {"s": "f32", "d": "f64", "c": "c64", "z": "c128"}


class CustomCallRule(msgspec.Struct, frozen=True):
    """One form that a custom call may have.

    Attributes:
        types: Types of operands and results, in the notation of this module.
        where: The values that entries of ``backend_config`` must have.
        elements: What ``T`` may be; empty for any type.
    """

    types: str
    where: dict[str, tuple[int, ...]] = {}
    elements: tuple[str, ...] = ()


def _modes(**where: str) -> dict[str, tuple[int, ...]]:
    """Returns LAPACK's modes, which are letters, as the numbers that ``backend_config`` holds."""
    return {name: tuple(letters.encode()) for name, letters in where.items()}


_REALS, _COMPLEXES = ("f32", "f64"), ("c64", "c128")
_FLOATS = (*_REALS, *_COMPLEXES)

_QR = CustomCallRule("T[* m n] -> T[* m n] T[* k]")
_Q = CustomCallRule("T[* m n] T[* r] -> T[* m n]")
_CHOLESKY = CustomCallRule("T[* n n] -> T[* n n] i32[*]")
_LU = CustomCallRule("T[* m n] -> T[* m n] i32[* k] i32[*]")
_EIGH = CustomCallRule("T[* n n] -> T[* n n] R[* n] i32[*]")
_TRIDIAGONAL = CustomCallRule("T[* n n] -> T[* n n] R[* n] R[* n-1] T[* n-1] i32[*]")
_SVD_FULL = "T[* m n] -> T[* m n] R[* k] T[* m m] T[* n n] i32[*]"
_SVD_THIN = "T[* m n] -> T[* m n] R[* k] T[* m k] T[* k n] i32[*]"
_SVD = (
    CustomCallRule(_SVD_FULL, _modes(mode="AN")),
    CustomCallRule(_SVD_THIN, _modes(mode="SN")),
)
_EIG = (
    CustomCallRule("T[* n n] -> R[* n] R[* n] C[* n n] C[* n n] i32[*]"),
    CustomCallRule("C[* n n] -> C[* n] C[* n n] C[* n n] i32[*]"),
)
_SCHUR = (
    CustomCallRule("T[* n n] -> T[* n n] T[* n n] R[* n] R[* n] i32[*] i32[*]", _modes(sort="N")),
    CustomCallRule("C[* n n] -> C[* n n] C[* n n] C[* n] i32[*] i32[*]", _modes(sort="N")),
)
_TRIANGULAR_SOLVE = (
    CustomCallRule("T[* n n] T[* n r] -> T[* n r]", _modes(side="L")),
    CustomCallRule("T[* n n] T[* r n] -> T[* r n]", _modes(side="R")),
)

# By the routine's name, which follows ``lapack_`` and a type letter
_LAPACK: dict[str, tuple[CustomCallRule, ...]] = {
    "potrf": (_CHOLESKY,),
    "geqrf": (_QR,),
    "orgqr": (_Q,),
    "ungqr": (_Q,),
    "syevd": (_EIGH,),
    "heevd": (_EIGH,),
    "sytrd": (_TRIDIAGONAL,),
    "hetrd": (_TRIDIAGONAL,),
    "gesdd": _SVD,
    "gesvd": _SVD,
    "getrf": (_LU,),
    "geev": _EIG,
    "gees": _SCHUR,
    "gehrd": (CustomCallRule("T[* n n] -> T[* n n] T[* n-1] i32[*]"),),
    "trsm": _TRIANGULAR_SOLVE,
    "gtsv": (
        CustomCallRule("T[* n] T[* n] T[* n] T[* n r] -> T[* n] T[* n] T[* n] T[* n r] i32[*]"),
    ),
}

_OTHERS: dict[str, tuple[CustomCallRule, ...]] = {
    "cusolver_potrf_ffi": (_CHOLESKY,),
    "cusolver_geqrf_ffi": (_QR,),
    "cusolver_orgqr_ffi": (_Q,),
    "cusolver_getrf_ffi": (_LU,),
    "cusolver_syevd_ffi": (_EIGH,),
    "cusolver_sytrd_ffi": (_TRIDIAGONAL,),
    "cusolver_gesvd_ffi": (
        CustomCallRule(_SVD_FULL, {"transposed": (0,)}),
        CustomCallRule(_SVD_THIN, {"transposed": (0,)}),
        CustomCallRule(
            "T[* m n] -> T[* m n] R[* k] T[* n n] T[* m m] i32[*]", {"transposed": (1,)}
        ),
        CustomCallRule(
            "T[* m n] -> T[* m n] R[* k] T[* k n] T[* m k] i32[*]", {"transposed": (1,)}
        ),
    ),
    "cusolver_gesvdj_ffi": (
        CustomCallRule(_SVD_FULL),
        CustomCallRule("T[* m n] -> T[* m n] R[* k] T[* m k] T[* n k] i32[*]"),
    ),
    "cusolver_gesvdp_ffi": (
        CustomCallRule(
            "T[* m n] -> T[* m n] R[* k] T[* m m] T[* n n] i32[*]", {"full_matrices": (1,)}, _FLOATS
        ),
        CustomCallRule(
            "T[* m n] -> T[* m n] R[* k] T[* m k] T[* n k] i32[*]", {"full_matrices": (0,)}, _FLOATS
        ),
    ),
    "cusolver_syrk_ffi": (
        CustomCallRule("T[* n r] T[* n n] T[] T[] -> T[* n n]", {"transpose": (0,)}, _FLOATS),
        CustomCallRule("T[* r n] T[* n n] T[] T[] -> T[* n n]", {"transpose": (1,)}, _FLOATS),
    ),
    # cuSOLVER computes no left eigenvectors
    "cusolver_geev_ffi": (
        CustomCallRule(
            "T[* n n] -> T[* n n] C[* n] T[* n n] T[* n n] i32[*]", {"left": (0,)}, _FLOATS
        ),
    ),
    # these run LAPACK on the host, or MAGMA where it is installed
    "cuhybrid_eig_real": (msgspec.structs.replace(_EIG[0], elements=_REALS),),
    "cuhybrid_eig_comp": (msgspec.structs.replace(_EIG[1], elements=_COMPLEXES),),
    "cuhybrid_geqp3": (
        CustomCallRule("T[* m n] i32[* n] -> T[* m n] i32[* n] T[* k]", elements=_FLOATS),
    ),
    "cusparse_gtsv2_ffi": (CustomCallRule("T[* n] T[* n] T[* n] T[* n r] -> T[* n r]"),),
    "cu_lu_pivots_to_permutation": (CustomCallRule("i32[* r] -> i32[* n]"),),
    "cu_threefry2x32_ffi": (CustomCallRule("u32[*] u32[*] u32[*] u32[*] -> u32[*] u32[*]"),),
    "ApproxTopK": (CustomCallRule("T[* n] i32[* n] T[] i32[] -> T[* r] i32[* r]"),),
}

# What a TPU's compiler expands; the other compilers have no such targets.
_TPU: dict[str, tuple[CustomCallRule, ...]] = {
    "Qr": (_QR,),
    "ProductOfElementaryHouseholderReflectors": (_Q,),
    "LuDecomposition": (CustomCallRule("T[* m n] -> T[* m n] i32[* k] i32[* m]"),),
    "Eigh": (CustomCallRule("T[* n n] -> T[* n n] R[* n]"),),
}
# Settings that are a text: lower, sorted, iterations, tolerance.
TEXT_SETTINGS = {"Eigh": re.compile(r"[01],[01],\d{1,4},\d+(\.\d+)?(e-?\d{1,3})?\Z", re.ASCII)}

# By the beginning of a target, the platform whose lowerings have it.
_PLATFORMS = (
    ("lapack_", "cpu"),
    ("cu", "cuda"),
    ("hip", "rocm"),
    *((target, "tpu") for target in _TPU),
)

# Why well-known targets are refused; all other targets are refused as unknown.
_WHY_REFUSED = (
    (
        r"xla_.*python.*callback|xla_ffi_partitioned.*callback",
        "calls back into the Python process that wrote the program",
    ),
    (
        r"xla\.sdy\.",
        "is part of a shard_map over several devices as JAX 0.5 to 0.7 wrote it, whose local "
        "shapes cannot be checked; export it with a newer JAX",
    ),
    (r"topk\Z|TopK\Z", "is TopK in a form XLA does not check; use chlo.top_k"),
    (r"AllocateBuffer\Z", "would show memory of earlier calls"),
    (r"(cu|hip)_cholesky_update", "needs the whole GPU at once; use jnp.linalg.cholesky again"),
    (r"__cudnn\$", "is a kernel of cuDNN; use implementation='xla'"),
    (r".*(triton|mosaic|tpu_custom_call|__gpu\$)", "carries a kernel of its own"),
    (r"tf\.call_tf", "calls TensorFlow"),
    (
        r"(cu|hip)(_|solver|blas|sparse|fft|rand|hybrid|dnn)|roc(solver|blas|sparse)",
        "is a routine of a GPU in a form that is not known, as of an older jaxlib; export the "
        "function for cpu, or with a newer JAX",
    ),
    (
        r"(lapack|blas)_\w+(?<!_ffi)\Z",
        "is a routine of LAPACK in a form that is not known; use a newer JAX",
    ),
    (r"shape_assertion|stablehlo\.dynamic_", "needs dynamic shapes, which are not supported yet"),
)


def refusal(
    target: str, operands: list[Aval | None], results: list[Aval | None], config: dict[str, int]
) -> str | None:
    """Returns why a custom call is refused, None if it may pass.

    Args:
        target: The name of the native function.
        operands: The operands' types; None for those that are no arrays.
        results: The results' types, likewise.
        config: The integers of ``mhlo.backend_config``.

    >>> f32 = Aval("f32", (3, 3))
    >>> refusal("lapack_spotrf_ffi", [f32], [f32, Aval("i32", ())], {})
    >>> refusal("my_kernel", [f32], [f32], {})
    "is not on jaxfs's list of known targets"
    """
    if target in PLACEMENT_TARGETS:
        return None
    if why := why_unknown(target):
        return why
    rules, element = _rules(target)
    types = [*operands, *results]
    if None in types:
        return "has operands or results that are no arrays"
    if element and operands and operands[0].dtype != element:  # type: ignore[union-attr]  # no None
        return f"takes {element}, found {operands[0]}"
    if any(_fits(rule, operands, results, config) for rule in rules):  # type: ignore[arg-type]  # ditto
        return None
    found = f"{' '.join(map(str, operands))} -> {' '.join(map(str, results))}"
    expected = " or ".join(rule.types for rule in rules)
    return f"has operands or settings that do not fit: expected {expected}, found {found} {config}"


def why_unknown(target: str) -> str | None:
    """Returns why a target is refused whatever its operands and settings are, None if it is known.

    >>> why_unknown("lapack_spotrf_ffi")
    >>> why_unknown("tf.call_tf_function")
    'calls TensorFlow'
    """
    if target in PLACEMENT_TARGETS or _rules(target)[0]:
        return None
    return next(
        (why for pattern, why in _WHY_REFUSED if re.match(pattern, target)),
        "is not on jaxfs's list of known targets",
    )


def _rules(target: str) -> tuple[tuple[CustomCallRule, ...], str | None]:
    match = re.match(r"lapack_([sdcz])(\w+)_ffi\Z", target)
    if match:
        return _LAPACK.get(match[2], ()), _LAPACK_LETTER[match[1]]
    if target in _TPU:
        return _TPU[target], None
    # ROCm's handlers are made from the same source as CUDA's
    return _OTHERS.get(re.sub(r"\Ahip", "cu", target), ()), None


def why_not_on(target: str, platform: str) -> str | None:
    """Returns why a custom call cannot run on a platform, None if it may.

    >>> why_not_on("cusolver_potrf_ffi", "cpu")
    'is lowered for cuda, and the device is cpu; lower or export the program for cpu'
    >>> why_not_on("lapack_spotrf_ffi", "cpu")
    """
    found = next((name for start, name in _PLATFORMS if target.startswith(start)), platform)
    if matching_name(platform, [found]):
        return None
    return (
        f"is lowered for {found}, and the device is {platform}; lower or export the program for "
        f"{platform}"
    )


def _fits(
    rule: CustomCallRule, operands: list[Aval], results: list[Aval], config: dict[str, int]
) -> bool:
    if rule.elements and (not operands or operands[0].dtype not in rule.elements):
        return False
    if any(config.get(name) not in allowed for name, allowed in rule.where.items()):
        return False
    left, right = (_TYPE.findall(side) for side in rule.types.split("->"))
    if (len(left), len(right)) != (len(operands), len(results)) or not operands:
        return False
    bound: dict[str, Any] = {"T": operands[0].dtype}
    return all(
        _dtype_fits(dtype, aval.dtype, bound["T"]) and _shape_fits(dims.split(), aval.shape, bound)
        for (dtype, dims), aval in zip([*left, *right], [*operands, *results], strict=True)
    )


def _dtype_fits(written: str, found: str, element: str) -> bool:
    """Returns whether a dtype is the one of a rule, where ``T`` is ``element``."""
    if written == "R":
        return found == _REAL.get(element, element)
    if written == "C":
        return found == _COMPLEX.get(element, element) and found in _REAL
    return found == (element if written == "T" else written)


def _shape_fits(dims: list[str], shape: tuple[int, ...], bound: dict[str, Any]) -> bool:
    """Returns whether a shape fits a rule's dimensions; binds letters that are not bound yet."""
    if dims[:1] == ["*"]:
        dims = dims[1:]
        batch, shape = shape[: len(shape) - len(dims)], shape[len(shape) - len(dims) :]
        if bound.setdefault("*", batch) != batch:
            return False
    return len(dims) == len(shape) and all(map(lambda d, n: _binds(d, n, bound), dims, shape))


def _binds(dim: str, size: int, bound: dict[str, Any]) -> bool:
    if dim == "k":
        return bool(size == min(bound["m"], bound["n"]))
    if dim == "n-1":
        return bool(size == max(0, bound["n"] - 1))
    return bool(bound.setdefault(dim, size) == size)
