"""Functions with derivatives of their own: what JAX lacks, or differentiates less well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from jaxfs.errors import NotSupported
from jaxfs.jaxcompat import jaxprs
from jaxfs.stablehlo.importer.op import CannotImport


def differentiated_by(run: Callable[..., Any], other: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function that computes ``run``, with the derivative of ``other``.

    Both compute the same.  They may be closures over values that are being differentiated too:
    those become arguments.
    """

    def call(*args: Any) -> Any:
        converted, consts = jax.closure_convert(run, *args)
        again, more = jax.closure_convert(other, *args)

        @jax.custom_jvp
        def either(args: Any, consts: Any, more: Any) -> Any:
            return converted(*args, *consts)

        @either.defjvp
        def differentiate(primals: Any, tangents: Any) -> Any:
            return jax.jvp(lambda args, _, more: again(*args, *more), primals, tangents)

        return either(args, tuple(consts), tuple(more))

    return call


@jax.custom_jvp
def zeta(s: Any, q: Any) -> Any:
    """Returns Hurwitz' zeta function; it has the derivative by ``q``, which JAX lacks.

    Args:
        s: The exponent, [...].
        q: The first summand's base, [...], of the same shape and dtype.
    """
    return lax.zeta(s, q)


def _zeta_jvp(primals: Any, tangents: Any) -> Any:
    """Returns zeta and its derivative by ``q``: -s zeta(s + 1, q).

    Source: https://dlmf.nist.gov/25.11.17.

    Raises:
        NotSupported: ``s`` is differentiated too.
    """
    (s, q), (s_dot, q_dot) = primals, tangents
    if not isinstance(s_dot, SymbolicZero):
        raise NotSupported("zeta has no derivative by its first operand")
    found = zeta(s, q)
    if isinstance(q_dot, SymbolicZero):
        return found, jnp.zeros_like(found)
    return found, -s * zeta(s + 1, q) * q_dot


zeta.defjvp(_zeta_jvp, symbolic_zeros=True)


@jax.custom_jvp
def next_after(x: Any, y: Any) -> Any:
    """Returns the number next to ``x``; it has a derivative, which jax before 0.12 lacks."""
    return lax.nextafter(x, y)


next_after.defjvps(lambda x_dot, found, x, y: x_dot, None)


def forward_only(x: Any, reason: str) -> Any:
    """Returns ``x``, which then can be differentiated in forward mode only.

    Reverse mode raises CannotImport with ``reason``, which names the place in the program, as JAX's
    own error would not. Integers pass through: they have no derivative.
    """
    return forward_only_p.bind(x, reason=reason) if jnp.issubdtype(x.dtype, jnp.inexact) else x


def _refuse(cotangent: Any, x: Any, *, reason: str) -> Any:
    """Transposes ``forward_only``, which is impossible.

    Raises:
        CannotImport: Always, with the reason given to ``forward_only``.
    """
    raise CannotImport(reason)


forward_only_p = jaxprs.linear_identity("forward_only", _refuse)
