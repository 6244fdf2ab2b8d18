"""QR as LAPACK stores it, with derivatives: reflections column by column, in jax.numpy."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxfs.stablehlo.importer.op import Operation, Rule


def geqrf(a: Any) -> tuple[Any, Any]:
    """[..., m, n] -> R above the diagonal and the reflections below, and their factors tau."""
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
    """LAPACK's larfg: the vector (1 at k), tau, and what the reflection leaves at k."""
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
    """[..., m, n] with reflections below the diagonal -> Q."""
    if a.ndim > 2:
        return jax.vmap(orgqr)(a, taus)
    rows, columns = a.shape
    q = jnp.eye(rows, columns, dtype=a.dtype)
    for k in reversed(range(taus.shape[0])):
        vector = jnp.where(jnp.arange(rows) > k, a[:, k], 0).at[k].set(1)
        q = q - taus[k] * jnp.outer(vector, jnp.conj(vector) @ q)
    return q


def product(a: Any, taus: Any) -> Any:
    """The same by LAPACK."""
    return lax.linalg.householder_product(a, taus)


def cholesky(operation: Operation, a: Any) -> Any:
    if operation.flag("lower"):
        return lax.linalg.cholesky(a, symmetrize_input=False)
    turned = jnp.conj(jnp.swapaxes(a, -1, -2))
    return jnp.conj(jnp.swapaxes(lax.linalg.cholesky(turned, symmetrize_input=False), -1, -2))


def triangular_solve(operation: Operation, a: Any, b: Any) -> Any:
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
