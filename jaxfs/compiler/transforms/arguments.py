"""The arguments that a transformation is for, and whether they have derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from jaxfs.compiler.traceable import Traceable, as_aval
from jaxfs.errors import Invalid
from jaxfs.types.partial_avals import KnownAval


def check_argnums(program: Traceable, argnums: Sequence[int], option: str) -> tuple[int, ...]:
    """Returns the positions of arguments, negative ones counted from 0.

    Raises:
        Invalid: There is no such argument; the reason begins with ``option``.
    """
    tree = program.in_tree
    count = len(program.parameters if tree is None else tree.children())
    for number in argnums:
        if count and not -count <= number < count:
            names = ", ".join(program.parameter(i) for i in range(count))
            raise Invalid(f"{option} {number}: there are {count} arguments ({names}), from 0")
    return tuple(number + count if number < 0 else number for number in argnums)


def is_differentiable(leaf: Any) -> bool:
    """Returns whether a value has derivatives: integers and booleans have none."""
    return bool(jnp.issubdtype(leaf.dtype, jnp.inexact))


def may_be_differentiable(known: KnownAval) -> bool:
    """As ``is_differentiable``, of a type; True if it is not known."""
    return known is None or bool(jnp.issubdtype(known.row.numpy, jnp.inexact))


def describe(pairs: Sequence[tuple[str, Any]]) -> str:
    """Returns ``x f32[3], n i32[]`` for values with their names, for messages."""
    return ", ".join(f"{name} {as_aval(value)}" for name, value in pairs)[:500]
