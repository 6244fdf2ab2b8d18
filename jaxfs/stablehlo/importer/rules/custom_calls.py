"""Custom calls: LAPACK's become jax.lax.linalg, which has derivatives; annotations are removed.

LAPACK calls with inconsistent shapes corrupt the heap, so this is also a matter of safety.

Specification: https://github.com/openxla/stablehlo/blob/main/docs/spec.md#custom_call.
The routines: https://www.netlib.org/lapack/explore-html/.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxlib.mlir import ir

from jaxfs.stablehlo.importer.custom_rules import differentiated_by
from jaxfs.stablehlo.importer.op import Operation, Rule
from jaxfs.stablehlo.importer.opaque import import_opaque
from jaxfs.stablehlo.importer.reducers import is_identity, sole_operation
from jaxfs.stablehlo.importer.rules.linalg import geqrf, orgqr, product
from jaxfs.stablehlo.importer.single_op_module import enclosing_functions
from jaxfs.stablehlo.module.partitions import PLACEMENT_TARGETS

Target = Callable[..., Any]
_LAPACK = re.compile(r"lapack_[sdcz](?P<name>[a-z0-9]+?)(?:_ffi)?\Z")


def custom_call(operation: Operation, *operands: Any) -> Any:
    """Imports a call by its target; an unknown target runs as it is, if it is allowed."""
    target = operation.string("call_target_name")
    if target in PLACEMENT_TARGETS:
        return operands[0]
    found = _LAPACK.match(target)
    function = _LAPACK_CALLS.get(found["name"]) if found else _CALLS.get(target)
    if function is None:
        return import_opaque(operation, *operands)
    return function(operation, *operands)


def _option(operation: Operation, key: str) -> Any:
    """Returns an entry of the call's backend_config: one of LAPACK's letters, or a number."""
    config = ir.DictAttr(operation.attribute("mhlo.backend_config"))
    found = config[key]
    value = found.value if hasattr(found, "value") else found
    return chr(value) if isinstance(value, int) and 32 < value < 127 else value


def _info(like: Any) -> Any:
    """Returns LAPACK's ``info`` of success: zeros, one for each matrix."""
    return jnp.zeros(like.shape[:-2], np.int32)


def _potrf(operation: Operation, a: Any) -> Any:
    """Imports Cholesky; a matrix that is not positive definite has ``info`` 1."""
    is_lower = _option(operation, "uplo") == "L"
    if not is_lower:
        a = jnp.conj(jnp.swapaxes(a, -1, -2))
    found = lax.linalg.cholesky(a, symmetrize_input=False)
    if not is_lower:
        found = jnp.conj(jnp.swapaxes(found, -1, -2))
    failed = jnp.isnan(jnp.real(found)).any((-1, -2))
    return [found, failed.astype(np.int32)]


def _trsm(operation: Operation, a: Any, b: Any) -> Any:
    """Imports a triangular solve."""
    transpose = _option(operation, "trans_x")
    return lax.linalg.triangular_solve(
        a,
        b,
        left_side=_option(operation, "side") == "L",
        lower=_option(operation, "uplo") == "L",
        transpose_a=transpose in ("T", "C"),
        conjugate_a=transpose == "C",
        unit_diagonal=_option(operation, "diag") == "U",
    )


def _getrf(operation: Operation, a: Any) -> Any:
    """Imports LU as LAPACK's getrf; ``a`` is [..., m, n].

    Returns:
        L below the diagonal with U on and above it, [..., m, n]; the pivots, [..., min(m, n)],
        counted from 1 as LAPACK does; and info.
    """
    lu, pivots, _ = lax.linalg.lu(a)
    return [lu, pivots + 1, _info(a)]


def _syevd(operation: Operation, a: Any) -> Any:
    """Imports the eigendecomposition of a symmetric matrix, of which one half is read."""
    is_lower = _option(operation, "uplo") == "L"
    whole = jnp.tril(a) + jnp.conj(jnp.swapaxes(jnp.tril(a, -1), -1, -2))
    if not is_lower:
        whole = jnp.triu(a) + jnp.conj(jnp.swapaxes(jnp.triu(a, 1), -1, -2))
    vectors, values = lax.linalg.eigh(whole, lower=is_lower, symmetrize_input=False)
    return [vectors, values, _info(a)]


def _gesdd(operation: Operation, a: Any) -> Any:
    """Imports the singular value decomposition."""
    mode = _option(operation, "mode")
    if mode == "N":
        values = lax.linalg.svd(a, compute_uv=False)
        outputs = operation.mlir.results
        shapes = [tuple(output.type.shape) for output in list(outputs)[2:4]]
        return [a, values, *(jnp.zeros(shape, a.dtype) for shape in shapes), _info(a)]
    u, values, vt = lax.linalg.svd(a, full_matrices=mode == "A")
    return [a, values, u, vt, _info(a)]


def _geqrf(operation: Operation, a: Any) -> Any:
    """Runs QR as it is, with the derivative of ``linalg.geqrf``."""
    run = differentiated_by(lambda a: tuple(import_opaque(operation, a)), geqrf)
    return list(run(jnp.asarray(a)))


def _orgqr(operation: Operation, a: Any, taus: Any) -> Any:
    """Runs the product of reflections by LAPACK, with the derivative of ``linalg.orgqr``."""
    return differentiated_by(product, orgqr)(jnp.asarray(a), jnp.asarray(taus))


_LAPACK_CALLS: dict[str, Target] = {
    "potrf": _potrf,
    "trsm": _trsm,
    "getrf": _getrf,
    "syevd": _syevd,
    "heevd": _syevd,
    "gesdd": _gesdd,
    "geqrf": _geqrf,
    "orgqr": _orgqr,
    "ungqr": _orgqr,
}


def _top_k(operation: Operation, x: Any) -> Any:
    """Imports the largest elements along the last dimension.

    Returns:
        Values and their indices, each [..., k]; k is known from the result's type only.
    """
    k = operation.result().shape[-1]
    values, indices = lax.top_k(x, k)
    return [values, indices]


def _approx_top_k(operation: Operation, *operands: Any) -> Any:
    """Imports JAX's approximate extrema of one array with their indices; others run as they are.

    Returns:
        Values and their indices, ``top_k`` long in ``reduction_dim``.
    """
    find = _approximation(operation, operands)
    if find is None:
        return import_opaque(operation, *operands)
    config: Any = ir.DictAttr(operation.attribute("mhlo.backend_config"))  # of attributes
    keys = ("recall_target", "reduction_input_size_override", "aggregate_to_topk")
    options = {key: config[key].value for key in keys}
    dimension = config["reduction_dim"].value
    return find(operands[0], config["top_k"].value, reduction_dimension=dimension, **options)


def _approximation(operation: Operation, operands: Any) -> Any:
    """Returns JAX's function that makes such a call: of numbers, and indices that count up."""
    if len(operands) != 4 or not operation.has("mhlo.backend_config"):
        return None
    config: Any = ir.DictAttr(operation.attribute("mhlo.backend_config"))
    dimension = config["reduction_dim"].value
    iota = operation.mlir.operands[1].owner
    counts = not isinstance(iota, ir.Block) and iota.name == "stablehlo.iota"
    along: Any = iota.attributes["iota_dimension"] if counts else None
    if along is None or along.value != dimension:
        return None
    called: Any = ir.ArrayAttr(operation.attribute("called_computations"))
    block = enclosing_functions(operation.mlir)[called[0].value].regions[0].blocks[0]
    if sole_operation(block) != ("compare", [0, 1]):
        return None
    direction = str(block.operations[0].attributes["comparison_direction"])
    name, find = _EXTREMA.get(direction.rstrip(">").split()[-1], ("", None))
    is_known = isinstance(operands[3], np.ndarray) and operands[3] == -1
    is_jax = is_known and jnp.issubdtype(operands[0].dtype, jnp.floating)
    return find if is_jax and is_identity(operands[2], name) else None


_EXTREMA = {"GT": ("maximum", lax.approx_max_k), "LT": ("minimum", lax.approx_min_k)}
_CALLS: dict[str, Target] = {"ApproxTopK": _approx_top_k, "mhlo.topk": _top_k}

RULES: dict[str, Rule] = {
    "stablehlo.custom_call": custom_call,
}
