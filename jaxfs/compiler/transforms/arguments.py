"""Which arguments a transformation is about, and what kinds of numbers they hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from jaxfs.compiler.traceable import Traceable, as_aval
from jaxfs.errors import Invalid
from jaxfs.types.partial_avals import KnownAval


def check_argnums(program: Traceable, numbers: Sequence[int], what: str) -> tuple[int, ...]:
    """The numbers counted from 0.  Raises Invalid where there is no such argument."""
    tree = program.in_tree
    count = len(program.parameters if tree is None else tree.children())
    for number in numbers:
        if count and not -count <= number < count:
            names = ", ".join(program.parameter(i) for i in range(count))
            raise Invalid(f"{what} {number}: there are {count} arguments ({names}), from 0")
    return tuple(number + count if number < 0 else number for number in numbers)


def is_real(leaf: Any) -> bool:
    """Whether a value has derivatives: not integers and booleans."""
    return bool(jnp.issubdtype(leaf.dtype, jnp.inexact))


def has_derivatives(known: KnownAval) -> bool:
    """As ``is_real``, of a type; True where it is not known."""
    return known is None or bool(jnp.issubdtype(known.row.numpy, jnp.inexact))


def describe(pairs: Sequence[tuple[str, Any]]) -> str:
    """``x f32[3], n i32[]``: values with their names, for messages."""
    return ", ".join(f"{name} {as_aval(value)}" for name, value in pairs)[:500]
