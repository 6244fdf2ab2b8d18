"""A program as a Python function that JAX can trace, whatever its source format was."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import jax
from jax import tree_util

from jaxfs.errors import Invalid
from jaxfs.stablehlo.module.argument_names import dotted, unique
from jaxfs.stablehlo.module.mlir_types import why_not_shape
from jaxfs.types.avals import BY_NUMPY, BY_SHORT, Aval
from jaxfs.types.partial_avals import KnownAval, as_partial

_WIDE = frozenset({"float64", "int64", "uint64", "complex128"})


@attrs.frozen
class Traceable:
    """A function of positional arguments that are pytrees.

    Attributes:
        function: The function itself.
        parameters: The names of its arguments.
        source_format: The format of the source it comes from.
        args: The types of the arguments, pytrees of ``jax.ShapeDtypeStruct``; None if they come
            with the call.
        tree: The structure of all arguments, if ``args`` is None and it is known.
        known: What is known of the type of each input, if ``args`` is None.
        platforms: Where the function may run; empty for everywhere.
        donated: The positions of the arguments whose memory the function may reuse.
        reason: Why there are no types, for users.
    """

    function: Callable[..., Any]
    parameters: tuple[str, ...]
    source_format: str
    args: tuple[Any, ...] | None = None
    tree: Any = None
    known: tuple[KnownAval, ...] = ()
    platforms: tuple[str, ...] = ()
    donated: tuple[int, ...] = ()
    reason: str = "the types come with the call"

    @property
    def in_tree(self) -> Any:
        """The structure of the arguments; None if it is not known."""
        if self.args is None:
            return self.tree
        return tree_util.tree_structure(self.args)

    @property
    def inputs(self) -> tuple[KnownAval, ...]:
        """What is known of the types of the inputs, one for each of ``names``."""
        if self.args is not None:
            return tuple(as_partial(as_aval(leaf)) for leaf in tree_util.tree_leaves(self.args))
        return self.known or (None,) * len(self.names())

    def names(self) -> tuple[str, ...]:
        """Returns a name for each input, ``params.w`` for a leaf of an argument."""
        if self.in_tree is None:
            return self.parameters
        args = self.args
        if args is None:  # of builtin types; a user's class may refuse what is no array
            args = tree_util.tree_unflatten(self.in_tree, range(self.in_tree.num_leaves))
        return tuple(
            unique(
                name
                for index, arg in enumerate(args)
                for name, _ in named_leaves(self.parameter(index), arg)
            )
        )

    def leaf_counts(self) -> list[int]:
        """Returns how many inputs each argument has; one each if that is not known."""
        if self.in_tree is None:
            return [1] * len(self.parameters)
        return [child.num_leaves for child in self.in_tree.children()]

    def donated_inputs(self) -> list[bool]:
        """Returns for each input of a program with types whether it is donated."""
        return [
            index in self.donated
            for index, arg in enumerate(self.args or ())
            for _ in tree_util.tree_leaves(arg)
        ]

    def parameter(self, index: int) -> str:
        """Returns the name of an argument by its position, from 0."""
        return self.parameters[index] if index < len(self.parameters) else f"arg{index}"

    def with_types(self, types: Sequence[Aval]) -> Traceable:
        """Returns the same program for inputs of these types.

        Raises:
            Invalid: There are more or fewer inputs.
        """
        structs = [as_struct(aval) for aval in types]
        tree = self.in_tree
        if tree is None:
            return attrs.evolve(self, args=tuple(structs))
        if tree.num_leaves != len(structs):
            names = ", ".join(self.names())
            raise Invalid(f"expected {tree.num_leaves} inputs ({names}), got {len(structs)}")
        return attrs.evolve(self, args=tree_util.tree_unflatten(tree, structs))


def named_leaves(name: str, tree: Any) -> list[tuple[str, Any]]:
    """Returns the leaves of a pytree called ``name``, with their key paths: ``params.w``."""
    found = tree_util.tree_flatten_with_path(tree)[0]
    return [
        (".".join(filter(None, [name, dotted(tree_util.keystr(path))])), leaf)
        for path, leaf in found
    ]


def has_64_bits(args: Any, types: Sequence[Aval] = ()) -> bool:
    """Returns whether an input has 64 bits: then JAX did compute with 64 for its author."""
    leaves = [str(leaf.dtype) for leaf in tree_util.tree_leaves(args)]
    return any(dtype in _WIDE for dtype in [*leaves, *(str(t.row.numpy) for t in types)])


def shape_struct(shape: Sequence[int], dtype: Any) -> Any:
    """Returns a ``jax.ShapeDtypeStruct``."""
    make: Any = jax.ShapeDtypeStruct  # its constructor has no types
    return make(tuple(shape), dtype)


def as_struct(aval: Aval) -> Any:
    """Returns the type as a ``jax.ShapeDtypeStruct``."""
    return shape_struct(aval.shape, aval.row.numpy)


def as_aval(value: Any) -> Aval:
    """Returns the type of an array, tracer or ``jax.ShapeDtypeStruct``.

    Raises:
        Invalid: jaxfs has no such type.
    """
    row = BY_NUMPY.get(value.dtype)
    if row is None or row.short not in BY_SHORT:
        raise Invalid(f"the type {value.dtype} is not supported")
    aval = Aval(row.short, tuple(value.shape))
    if why := why_not_shape(aval.shape):
        raise Invalid(f"{aval}: {why}")
    return aval


def parameter_names(function: Callable[..., Any]) -> tuple[str, ...]:
    """Returns the names of a Python function's required positional parameters."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a function written in C has no signature
        return ()
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(p.name for p in parameters if p.kind in positional and p.default is p.empty)


def takes_nothing(function: Callable[..., Any]) -> bool:
    """Returns whether a Python function has no parameters at all, so that its types are known."""
    try:
        return not inspect.signature(function).parameters
    except (TypeError, ValueError):  # as above
        return False
