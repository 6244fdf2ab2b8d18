"""How each transformation is done: one function a row of ``table``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import jax
import jax.numpy as jnp
import numpy as np
from jax import tree_util

from jaxfs.errors import Invalid
from jaxfs.tracer.traceable import Traceable, struct
from jaxfs.tracer.transforms.table import Step, parse

Args = tuple[Any, ...]
Apply = Callable[[Traceable, Step], Traceable]
BATCH_UNKNOWN = "the size of the batch comes with the call; vmap:axis_size=N would fix it"


def transform(program: Traceable, steps: Sequence[str]) -> Traceable:
    """A program with steps done to it, the last of them first, as a path is read.

    Raises Invalid for a step that does not fit the program's inputs; what does not fit what it
    computes is found when it is traced.
    """
    for text in reversed(steps):
        step = parse(text)
        program = _APPLY[step.row.name](program, step)
    return program


def _with(program: Traceable, function: Callable[..., Any]) -> Traceable:
    """Other outputs, the same inputs."""
    return attrs.evolve(program, function=function)


def _check_argnums(program: Traceable, numbers: Sequence[int], what: str) -> None:
    count = len(program.args) if program.args is not None else len(program.parameters)
    for number in numbers:
        if count and not -count <= number < count:
            names = ", ".join(program.parameters)
            raise Invalid(f"{what} {number}: there are {count} arguments ({names}), from 0")


def _argnums(program: Traceable, step: Step) -> int | tuple[int, ...]:
    """JAX gives one gradient for a number, a tuple for several."""
    numbers: tuple[int, ...] = step["argnums"]
    _check_argnums(program, numbers, f"{step.row.name}:argnums")
    return numbers[0] if len(numbers) == 1 else numbers


def _differentiated(derive: Callable[..., Any]) -> Apply:
    def apply(program: Traceable, step: Step) -> Traceable:
        options = {key: value for key, value in step.values.items() if key != "argnums"}
        argnums = _argnums(program, step)
        return _with(program, derive(program.function, argnums=argnums, **options))

    return apply


def _jit(program: Traceable, step: Step) -> Traceable:
    _check_argnums(program, step["donate_argnums"], "jit:donate_argnums")
    return program


def _checkpoint(program: Traceable, step: Step) -> Traceable:
    return _with(program, jax.checkpoint(program.function, prevent_cse=step["prevent_cse"]))


# Batches


def _vmap(program: Traceable, step: Step) -> Traceable:
    return _batched(program, step, step["axis_size"])


def _pmap(program: Traceable, step: Step) -> Traceable:
    """The numbers of pmap: what runs where is decided when it is compiled."""
    return _batched(program, step, step["devices"])


def _batched(program: Traceable, step: Step, size: int | None) -> Traceable:
    def function(*args: Any) -> Any:
        axes = _axes_for(step["in_axes"], len(args), step)
        out = step["out_axes"]
        return jax.vmap(
            program.function,
            in_axes=axes,
            out_axes=out[0] if len(out) == 1 else out,
            axis_size=size,
            axis_name=step["axis_name"],
        )(*args)

    if program.args is None or size is None:
        tree = program.in_tree
        return attrs.evolve(program, function=function, args=None, tree=tree, reason=BATCH_UNKNOWN)
    axes = _axes_for(step["in_axes"], len(program.args), step)
    args = tuple(_grown(arg, axis, size) for arg, axis in zip(program.args, axes, strict=True))
    return attrs.evolve(program, function=function, args=args)


def _axes_for(axes: tuple[int | None, ...], count: int, step: Step) -> tuple[int | None, ...]:
    if len(axes) == 1:
        return axes * count
    if len(axes) != count:
        raise Invalid(f"{step.canonical}: {len(axes)} axes for {count} arguments")
    return axes


def _grown(arg: Any, axis: int | None, size: int) -> Any:
    """A type with the batch's axis."""
    if axis is None:
        return arg

    def grow(leaf: Any) -> Any:
        shape = list(leaf.shape)
        place = axis if axis >= 0 else axis + len(shape) + 1
        if not 0 <= place <= len(shape):
            raise Invalid(f"in_axes: an array of {len(shape)} dimensions gets no axis {axis}")
        shape.insert(place, size)
        return struct(shape, leaf.dtype)

    return tree_util.tree_map(grow, arg)


# Tangents and cotangents


def _is_real(leaf: Any) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jnp.inexact))


def _split(flat: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Inputs and the tangents of those of them that have some."""
    for count in range(len(flat) + 1):
        if count + sum(map(_is_real, flat[:count])) == len(flat):
            return list(flat[:count]), list(flat[count:])
    raise Invalid(f"{len(flat)} arrays are not inputs and a tangent for each that is not integer")


def _tangents(primals: Sequence[Any], given: Sequence[Any]) -> list[Any]:
    """A tangent for each input: those given, and nothing for integers."""
    rest = iter(given)
    return [next(rest) if _is_real(one) else _no_tangent(one) for one in primals]


def _no_tangent(leaf: Any) -> Any:
    return np.zeros(leaf.shape, jax.dtypes.float0)


def _with_tangents(program: Traceable, function: Callable[..., Any]) -> Traceable:
    """Inputs are the program's leaves, then their tangents."""
    names = program.names()
    if program.args is None:
        tangents = tuple(f"tangent_{name}" for name in names)
        return attrs.evolve(program, function=function, parameters=(*names, *tangents), tree=None)
    leaves = tree_util.tree_leaves(program.args)
    real = [(name, leaf) for name, leaf in zip(names, leaves, strict=True) if _is_real(leaf)]
    return attrs.evolve(
        program,
        function=function,
        parameters=(*names, *(f"tangent_{name}" for name, _ in real)),
        args=(*leaves, *(leaf for _, leaf in real)),
    )


def _flat_function(program: Traceable, count: int) -> Callable[..., Any]:
    """The program as a function of its leaves."""
    tree = program.in_tree
    if tree is None:
        return program.function
    if tree.num_leaves != count:
        raise Invalid(f"expected {tree.num_leaves} inputs, got {count}")
    return lambda *flat: program.function(*tree_util.tree_unflatten(tree, flat))


def _jvp(program: Traceable, step: Step) -> Traceable:
    def function(*flat: Any) -> Any:
        primals, given = _split(flat)
        flat_function = _flat_function(program, len(primals))
        outputs, tangents = jax.jvp(flat_function, primals, _tangents(primals, given))
        return outputs, _only_real(tangents)

    return _with_tangents(program, function)


def _linearize(program: Traceable, step: Step) -> Traceable:
    def function(*flat: Any) -> Any:
        primals, given = _split(flat)
        flat_function = _flat_function(program, len(primals))
        _, derivative = jax.linearize(flat_function, *primals)
        return _only_real(derivative(*_tangents(primals, given)))

    return _with_tangents(program, function)


def _only_real(tree: Any) -> Any:
    """Without what has no derivative: float0 is no type a program can give."""
    return [leaf for leaf in tree_util.tree_leaves(tree) if leaf.dtype != jax.dtypes.float0]


def _vjp(program: Traceable, step: Step) -> Traceable:
    def function(*flat: Any) -> Any:
        count = _count_of_inputs(program, flat)
        primals, given = flat[:count], iter(flat[count:])
        outputs, pull = jax.vjp(_flat_function(program, count), *primals)
        leaves, tree = tree_util.tree_flatten(outputs)
        cotangents = [next(given) if _is_real(one) else _no_tangent(one) for one in leaves]
        gradients = pull(tree_util.tree_unflatten(tree, cotangents))
        return outputs, _only_real(gradients)

    if program.args is None:
        return attrs.evolve(program, function=function, tree=None, parameters=())
    leaves = tree_util.tree_leaves(program.args)
    outputs = tree_util.tree_leaves(jax.eval_shape(program.function, *program.args))
    cotangents = [struct(o.shape, o.dtype) for o in outputs if _is_real(o)]
    named = [f"cotangent_{number}" for number in range(len(cotangents))]
    return attrs.evolve(
        program,
        function=function,
        parameters=(*program.names(), *named),
        args=(*leaves, *cotangents),
    )


def _count_of_inputs(program: Traceable, flat: Sequence[Any]) -> int:
    """How many of the arrays are inputs; the rest are cotangents."""
    if program.in_tree is not None:
        return int(program.in_tree.num_leaves)
    if program.parameters and len(program.parameters) < len(flat):
        return len(program.parameters)
    raise Invalid("vjp of a function whose number of inputs is not known; pickle it with examples")


_APPLY: dict[str, Apply] = {
    "grad": _differentiated(jax.grad),
    "value_and_grad": _differentiated(jax.value_and_grad),
    "jacfwd": _differentiated(jax.jacfwd),
    "jacrev": _differentiated(jax.jacrev),
    "hessian": _differentiated(jax.hessian),
    "jit": _jit,
    "vmap": _vmap,
    "pmap": _pmap,
    "jvp": _jvp,
    "linearize": _linearize,
    "vjp": _vjp,
    "checkpoint": _checkpoint,
}
