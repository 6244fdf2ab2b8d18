"""Directional derivatives, forward and reverse, as flat programs.

Integers have no tangents: calls have none for them, and results neither.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import jax
import numpy as np
from jax import tree_util

from jaxfs.compiler.traceable import Traceable, shape_struct
from jaxfs.compiler.transforms.arguments import is_differentiable, may_be_differentiable
from jaxfs.compiler.transforms.named_outputs import NamedOutputs, from_pairs, with_names
from jaxfs.compiler.transforms.table import Step
from jaxfs.errors import Invalid


def jvp(program: Traceable, _step: Step) -> Traceable:
    """As jax.jvp: the inputs are primals, then tangents; so are the outputs."""
    return _with_tangents(program, jax.jvp)


def linearize(program: Traceable, _step: Step) -> Traceable:
    """As jvp, by jax.linearize."""

    def derive(function: Any, primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
        outputs, derivative = jax.linearize(function, *primals)
        return outputs, derivative(*tangents)

    return _with_tangents(program, derive)


def _with_tangents(program: Traceable, derive: Callable[..., Any]) -> Traceable:
    """Returns a program of the leaves of all arguments, then their tangents."""

    def function(*flat: Any) -> NamedOutputs:
        primals, tangents = _split(flat)
        outputs, derivatives = derive(
            _flat(program, len(primals)), primals, _with_zeros(primals, tangents)
        )
        named = [(f"tangent_{name}", value) for name, value in derivatives.pairs]
        return from_pairs([*outputs.pairs, *named])

    names = program.names()
    if program.args is None:
        pairs = zip(names, program.inputs, strict=True)
        partials = [(name, known) for name, known in pairs if may_be_differentiable(known)]
        return attrs.evolve(
            program,
            function=function,
            parameters=(*names, *(f"tangent_{name}" for name, _ in partials)),
            tree=None,
            known=(*program.inputs, *(known for _, known in partials)),
            donated=(),
        )
    leaves = tree_util.tree_leaves(program.args)
    pairs = zip(names, leaves, strict=True)
    tangent_types = [(name, leaf) for name, leaf in pairs if is_differentiable(leaf)]
    return attrs.evolve(
        program,
        function=function,
        parameters=(*names, *(f"tangent_{name}" for name, _ in tangent_types)),
        args=(*leaves, *(leaf for _, leaf in tangent_types)),
        donated=(),
    )


def _split(flat: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Returns the inputs and their tangents, one for each input that is differentiable.

    Raises:
        Invalid: No count of inputs leaves a tangent for each differentiable one.
    """
    for count in range(len(flat) + 1):
        if count + sum(map(is_differentiable, flat[:count])) == len(flat):
            return list(flat[:count]), list(flat[count:])
    raise Invalid(f"{len(flat)} arrays are not inputs and a tangent for each that is not integer")


def _with_zeros(values: Sequence[Any], tangents: Sequence[Any]) -> list[Any]:
    """Returns a tangent for each value: the next of ``tangents``, or float0 for integers."""
    rest = iter(tangents)
    return [
        next(rest) if is_differentiable(one) else np.zeros(one.shape, jax.dtypes.float0)
        for one in values
    ]


def _flat(program: Traceable, count: int) -> Callable[..., NamedOutputs]:
    """Returns the program as a function of its leaves.

    Raises:
        Invalid: It does not have ``count`` of them.
    """
    function, tree = with_names(program.function), program.in_tree
    if tree is None:
        return function
    if tree.num_leaves != count:
        raise Invalid(f"expected {tree.num_leaves} inputs, got {count}")
    return lambda *flat: function(*tree_util.tree_unflatten(tree, flat))


def vjp(program: Traceable, _step: Step) -> Traceable:
    """As jax.vjp: the inputs are primals, then a cotangent for each output."""

    def function(*flat: Any) -> NamedOutputs:
        count = _input_count(program, flat)
        outputs, vjp_function = jax.vjp(_flat(program, count), *flat[:count])
        gradients = vjp_function(NamedOutputs(outputs.names, _cotangents(outputs, flat[count:])))
        names = program.names() or tuple(f"arg{i}" for i in range(count))
        named = [(f"d_{name}", value) for name, value in zip(names, gradients, strict=True)]
        return from_pairs([*outputs.pairs, *named])

    if program.args is None:
        return attrs.evolve(
            program,
            function=function,
            tree=None,
            parameters=(*program.names(), "cotangent"),
            known=(*program.inputs, None),
            donated=(),
        )
    outputs = jax.eval_shape(with_names(program.function), *program.args)
    cotangents = [(name, value) for name, value in outputs.pairs if is_differentiable(value)]
    return attrs.evolve(
        program,
        function=function,
        parameters=(*program.names(), *(f"cotangent_{name}" for name, _ in cotangents)),
        args=(
            *tree_util.tree_leaves(program.args),
            *(shape_struct(value.shape, value.dtype) for _, value in cotangents),
        ),
        donated=(),
    )


def _cotangents(outputs: NamedOutputs, given: Sequence[Any]) -> list[Any]:
    """Returns a cotangent for each output, with zeros for integers and booleans.

    Args:
        outputs: The results of the primal function.
        given: The cotangents of its differentiable outputs, in their order.

    Raises:
        Invalid: More or fewer are given.
    """
    names = [name for name, value in outputs.pairs if is_differentiable(value)]
    if len(given) != len(names):
        raise Invalid(f"expected {len(names)} cotangents ({', '.join(names)}), got {len(given)}")
    return _with_zeros(outputs.values, given)


def _input_count(program: Traceable, flat: Sequence[Any]) -> int:
    """Returns how many of the arrays are inputs; the rest are cotangents."""
    if program.in_tree is not None:
        return int(program.in_tree.num_leaves)
    if program.parameters and len(program.parameters) <= len(flat):
        return len(program.parameters)
    raise Invalid("vjp of a function whose number of inputs is not known; pickle it with examples")
