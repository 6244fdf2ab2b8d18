"""Functions that compute in one way and are differentiated in another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxfs import jaxcompat
from jaxfs.stablehlo.importer.operation import CannotImport


def differentiated_by(run: Callable[..., Any], other: Callable[..., Any]) -> Callable[..., Any]:
    """``run``, with the derivative of ``other``, which gives the same.

    Both may use values from around them that are being differentiated too: those become arguments.
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


def forward_only(x: Any, reason: str) -> Any:
    """``x``, of which derivatives taken backwards are refused with ``reason``."""
    return forward_only_p.bind(x, reason=reason) if jnp.issubdtype(x.dtype, jnp.inexact) else x


def _refuse(cotangent: Any, x: Any, *, reason: str) -> Any:
    raise CannotImport(reason)


forward_only_p = jaxcompat.linear_identity("forward_only", _refuse)
