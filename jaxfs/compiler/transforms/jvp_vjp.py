"""jvp, linearize and vjp: directional derivatives, as flat programs.

Integers have no tangents: none is written for them, and none comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import jax
import numpy as np
from jax import tree_util

from jaxfs.compiler.traceable import Traceable, shape_struct
from jaxfs.compiler.transforms.arguments import has_derivatives, is_real
from jaxfs.compiler.transforms.named_outputs import NamedOutputs, Pair, from_pairs, with_names
from jaxfs.compiler.transforms.table import Step
from jaxfs.errors import Invalid


def jvp(program: Traceable, step: Step) -> Traceable:
    return _with_tangents(program, jax.jvp)


def linearize(program: Traceable, step: Step) -> Traceable:
    return _with_tangents(program, _by_linearize)


def _by_linearize(function: Any, primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    outputs, derivative = jax.linearize(function, *primals)
    return outputs, derivative(*tangents)


def _with_tangents(program: Traceable, derive: Callable[..., Any]) -> Traceable:
    """Inputs are the program's leaves, then their tangents."""

    def function(*flat: Any) -> NamedOutputs:
        primals, given = _split(flat)
        outputs, slopes = derive(_flat(program, len(primals)), primals, _tangents(primals, given))
        return from_pairs([*outputs.pairs, *_prefixed("tangent_", slopes)])

    names = program.names()
    if program.args is None:
        known = program.inputs
        sloped = [(n, one) for n, one in zip(names, known, strict=True) if has_derivatives(one)]
        return attrs.evolve(
            program,
            function=function,
            parameters=(*names, *(f"tangent_{name}" for name, _ in sloped)),
            tree=None,
            known=(*known, *(one for _, one in sloped)),
            donated=(),
        )
    leaves = tree_util.tree_leaves(program.args)
    real = [(name, leaf) for name, leaf in zip(names, leaves, strict=True) if is_real(leaf)]
    return attrs.evolve(
        program,
        function=function,
        parameters=(*names, *(f"tangent_{name}" for name, _ in real)),
        args=(*leaves, *(leaf for _, leaf in real)),
        donated=(),
    )


def _split(flat: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Inputs and the tangents of those of them that have some."""
    for count in range(len(flat) + 1):
        if count + sum(map(is_real, flat[:count])) == len(flat):
            return list(flat[:count]), list(flat[count:])
    raise Invalid(f"{len(flat)} arrays are not inputs and a tangent for each that is not integer")


def _tangents(primals: Sequence[Any], given: Sequence[Any]) -> list[Any]:
    """A tangent for each input: those given, and nothing for integers."""
    rest = iter(given)
    return [next(rest) if is_real(one) else _nothing(one) for one in primals]


def _nothing(leaf: Any) -> Any:
    return np.zeros(leaf.shape, jax.dtypes.float0)


def _flat(program: Traceable, count: int) -> Callable[..., NamedOutputs]:
    """The program as a function of its leaves."""
    function, tree = with_names(program.function), program.in_tree
    if tree is None:
        return function
    if tree.num_leaves != count:
        raise Invalid(f"expected {tree.num_leaves} inputs, got {count}")
    return lambda *flat: function(*tree_util.tree_unflatten(tree, flat))


def _prefixed(prefix: str, outputs: NamedOutputs) -> list[Pair]:
    return [(prefix + name, value) for name, value in outputs.pairs]


def vjp(program: Traceable, step: Step) -> Traceable:
    """Inputs are the program's leaves, then a cotangent for each output."""

    def function(*flat: Any) -> NamedOutputs:
        count = _count_of_inputs(program, flat)
        primals, given = flat[:count], list(flat[count:])
        outputs, pull = jax.vjp(_flat(program, count), *primals)
        gradients = pull(NamedOutputs(outputs.names, _cotangents(outputs, given)))
        names = program.names() or tuple(f"arg{i}" for i in range(count))
        slopes = [(f"d_{name}", one) for name, one in zip(names, gradients, strict=True)]
        return from_pairs([*outputs.pairs, *slopes])

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
    real = [(name, one) for name, one in outputs.pairs if is_real(one)]
    return attrs.evolve(
        program,
        function=function,
        parameters=(*program.names(), *(f"cotangent_{name}" for name, _ in real)),
        args=(
            *tree_util.tree_leaves(program.args),
            *(shape_struct(one.shape, one.dtype) for _, one in real),
        ),
        donated=(),
    )


def _cotangents(outputs: NamedOutputs, given: Sequence[Any]) -> list[Any]:
    real = [name for name, one in outputs.pairs if is_real(one)]
    if len(given) != len(real):
        raise Invalid(f"expected {len(real)} cotangents ({', '.join(real)}), got {len(given)}")
    rest = iter(given)
    return [next(rest) if is_real(one) else _nothing(one) for one in outputs.values]


def _count_of_inputs(program: Traceable, flat: Sequence[Any]) -> int:
    """How many of the arrays are inputs; the rest are cotangents."""
    if program.in_tree is not None:
        return int(program.in_tree.num_leaves)
    if program.parameters and len(program.parameters) <= len(flat):
        return len(program.parameters)
    raise Invalid("vjp of a function whose number of inputs is not known; pickle it with examples")
