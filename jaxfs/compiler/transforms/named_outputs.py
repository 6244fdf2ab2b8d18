"""Outputs that keep their names through transformations.

A program returns any pytree.  A transformed one returns a flat list with names: ``d_x`` for a
gradient, ``tangent_y`` for a tangent.  The names are the auxiliary data of a pytree node, so that
JAX preserves them through vmap, jvp and the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
from jax import tree_util

from jaxfs.compiler.traceable import named_leaves
from jaxfs.errors import Invalid
from jaxfs.stablehlo.module.argument_names import result_name

Pair = tuple[str, Any]


class NamedOutputs:
    """A list of values, each with a name; a pytree node.

    Attributes:
        names: The names.
        values: The values, as many.
    """

    def __init__(self, names: Sequence[str], values: Sequence[Any]) -> None:
        self.names = tuple(names)
        self.values = tuple(values)

    @property
    def pairs(self) -> list[Pair]:
        """Each name with its value."""
        return list(zip(self.names, self.values, strict=True))


def _flatten(named: NamedOutputs) -> tuple[tuple[Any, ...], tuple[str, ...]]:
    return named.values, named.names


tree_util.register_pytree_node(NamedOutputs, _flatten, NamedOutputs)


def from_pairs(pairs: Iterable[Pair]) -> NamedOutputs:
    """Returns named outputs, without values of float0: JAX's derivatives of integers."""
    kept = [(name, value) for name, value in pairs if value.dtype != jax.dtypes.float0]
    return NamedOutputs([name for name, _ in kept], [value for _, value in kept])


def name_outputs(outputs: Any) -> NamedOutputs:
    """Returns the outputs of any function, with the names of its signature."""
    if isinstance(outputs, NamedOutputs):
        return outputs
    pairs = named_leaves("result", outputs)
    return NamedOutputs([result_name(name) for name, _ in pairs], [value for _, value in pairs])


def with_names(function: Callable[..., Any]) -> Callable[..., NamedOutputs]:
    """Returns the function with named outputs."""
    return lambda *args: name_outputs(function(*args))


def value_and_aux(outputs: Any) -> tuple[Any, NamedOutputs]:
    """Returns the value to differentiate, and the auxiliary outputs of ``has_aux``.

    Raises:
        Invalid: The outputs are no such pair.
    """
    if isinstance(outputs, NamedOutputs):
        if len(outputs.values) < 2:
            raise Invalid("has_aux needs a program with a value and something to pass on")
        return outputs.values[0], NamedOutputs(outputs.names[1:], outputs.values[1:])
    if not isinstance(outputs, tuple | list) or len(outputs) < 2:
        raise Invalid("has_aux needs a program that gives a tuple (value, extra)")
    value, *rest = outputs
    pairs = named_leaves("aux", rest[0] if len(rest) == 1 else rest)
    return value, NamedOutputs([name for name, _ in pairs], [one for _, one in pairs])
