"""Linear algebra: Cholesky, triangular solves, and QR as LAPACK stores it, with derivatives.

Specification: https://github.com/openxla/stablehlo/blob/main/docs/spec.md#cholesky,
#triangular_solve.

QR is computed by Householder reflections, column by column, in jax.numpy: LAPACK's geqrf and orgqr.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxfs.stablehlo.importer.op import Operation, Rule


def geqrf(a: Any) -> tuple[Any, Any]:
    """Returns the QR decomposition of matrices, as LAPACK's geqrf does.

    Args:
        a: Matrices, [..., m, n].

    Returns:
        R above the diagonal with the reflections below, [..., m, n], and the reflections' factors
        tau, [..., min(m, n)].
    """
    if a.ndim > 2:
        found: tuple[Any, Any] = jax.vmap(geqrf)(a)
        return found
    rows, columns = a.shape
    taus = []
    for k in range(min(rows, columns)):
        vector, tau, beta = _reflection(a[:, k], k)
        rest = jnp.where(jnp.arange(columns) > k, 1, 0)
        a = a - jnp.conj(tau) * jnp.outer(vector, jnp.conj(vector) @ a) * rest
        below = jnp.arange(rows) > k
        column = jnp.where(below, vector, a[:, k])
        a = a.at[:, k].set(column.at[k].set(beta))
        taus.append(tau)
    return a, jnp.stack(taus)


def _reflection(column: Any, k: int) -> tuple[Any, Any, Any]:
    """Returns the reflection that makes a column zero below its element k, as LAPACK's larfg.

    Returns:
        The reflection's vector, 1 at k, [m]; its factor tau; the element k after the reflection.
    """
    below = jnp.where(jnp.arange(column.shape[0]) > k, column, 0)
    alpha = column[k]
    squares = jnp.sum(jnp.real(below * jnp.conj(below)))
    is_nothing = (squares == 0) & (jnp.imag(alpha) == 0)
    safe = jnp.where(is_nothing, 1, squares + jnp.real(alpha * jnp.conj(alpha)))
    norm = jnp.sqrt(safe)
    beta = jnp.where(is_nothing, alpha, (-jnp.sign(jnp.real(alpha)) * norm).astype(alpha.dtype))
    beta = jnp.where((jnp.real(alpha) == 0) & ~is_nothing, -norm.astype(alpha.dtype), beta)
    tau = jnp.where(is_nothing, 0, (beta - alpha) / jnp.where(is_nothing, 1, beta))
    scale = jnp.where(is_nothing, 1, alpha - beta)
    vector = jnp.where(is_nothing, 0, below / scale).at[k].set(1)
    return vector, tau, beta


def orgqr(a: Any, taus: Any) -> Any:
    """Returns Q, [..., m, n], of reflections, as LAPACK's orgqr does.

    Args:
        a: Matrices with the reflections below the diagonal, [..., m, n].
        taus: The factors of the reflections, [..., k].
    """
    if a.ndim > 2:
        return jax.vmap(orgqr)(a, taus)
    rows, columns = a.shape
    q = jnp.eye(rows, columns, dtype=a.dtype)
    for k in reversed(range(taus.shape[0])):
        vector = jnp.where(jnp.arange(rows) > k, a[:, k], 0).at[k].set(1)
        q = q - taus[k] * jnp.outer(vector, jnp.conj(vector) @ q)
    return q


def product(a: Any, taus: Any) -> Any:
    """Returns what ``orgqr`` does, by LAPACK: faster, and without a derivative.

    Args:
        a: Matrices with the reflections below the diagonal, [..., m, n].
        taus: The factors of the reflections, [..., k].
    """
    return lax.linalg.householder_product(a, taus)


def cholesky(operation: Operation, a: Any) -> Any:
    """Imports a Cholesky decomposition; it reads one triangle of ``a`` [..., n, n] only.

    Returns:
        The lower factor L with a = L L^H, or with ``lower`` false the upper U with a = U^H U.
        JAX has the lower one only; the upper is its adjoint.
    """
    if operation.flag("lower"):
        return lax.linalg.cholesky(a, symmetrize_input=False)
    adjoint = jnp.conj(jnp.swapaxes(a, -1, -2))
    return jnp.conj(jnp.swapaxes(lax.linalg.cholesky(adjoint, symmetrize_input=False), -1, -2))


def triangular_solve(operation: Operation, a: Any, b: Any) -> Any:
    """Imports the solution of a triangular system.

    Returns:
        x [..., m, n] with op(a) x = b if ``left_side``, else x op(a) = b, where op is the identity,
        transpose or adjoint.
    """
    how = operation.enum("transpose_a")
    return lax.linalg.triangular_solve(
        a,
        b,
        left_side=operation.flag("left_side"),
        lower=operation.flag("lower"),
        transpose_a=how in ("TRANSPOSE", "ADJOINT"),
        conjugate_a=how == "ADJOINT",
        unit_diagonal=operation.flag("unit_diagonal"),
    )


RULES: dict[str, Rule] = {
    "stablehlo.cholesky": cholesky,
    "stablehlo.triangular_solve": triangular_solve,
}
