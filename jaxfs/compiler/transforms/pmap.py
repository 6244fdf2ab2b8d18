"""Parallelization: each element of a batch on a device of its own, in one program."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs
import jax
import jax.numpy as jnp
from jax import tree_util

from jaxfs.compiler.meshes import Mesh
from jaxfs.compiler.traceable import Traceable, named_leaves
from jaxfs.compiler.transforms.arguments import describe
from jaxfs.compiler.transforms.named_outputs import NamedOutputs, with_names
from jaxfs.compiler.transforms.shardings import PartitionSpec, abstract_mesh
from jaxfs.compiler.transforms.table import Axes, Step
from jaxfs.compiler.transforms.vmap import axes_for, batch_of, vmapped
from jaxfs.errors import Invalid

AXIS_NAME = "pmap"  # where the path gives none
BATCH_UNKNOWN = "the size of the batch comes with the call; pmap:devices=N would fix it"


def pmap(program: Traceable, step: Step) -> Traceable:
    """As jax.pmap, by jax.shard_map; the size of the batch comes with the call, or ``devices``."""

    def function(*args: Any) -> NamedOutputs:
        axes = axes_for(step["in_axes"], len(args), "arguments", step)
        size = _batch_size(program, args, axes, step)
        if size == 1:
            return vmapped(program, step, size)(*args)
        return _on_each(program, step, size)(*args)

    return batch_of(
        attrs.evolve(program, function=function, donated=()), step, step["devices"], BATCH_UNKNOWN
    )


def _batch_size(program: Traceable, args: Sequence[Any], axes: Axes, step: Step) -> int:
    """Returns the size of the batch.

    Raises:
        Invalid: An array has no such axis, or the sizes differ from one another or ``devices``.
    """
    found: dict[int, tuple[str, Any]] = {}
    for name, leaf, axis in _batched(program, args, axes):
        if not -len(leaf.shape) <= axis < len(leaf.shape):
            raise Invalid(f"{step.canonical}: {describe([(name, leaf)])} has no axis {axis}")
        found.setdefault(leaf.shape[axis], (name, leaf))
    if len(found) > 1:
        raise Invalid(
            f"{step.canonical}: batches of different sizes: {describe([*found.values()])}"
        )
    size = int(next(iter(found), step["devices"] or 0))
    if size == 0:
        raise Invalid(f"{step.canonical}: there is no batch, or an empty one")
    if size != (step["devices"] or size):
        raise Invalid(f"{step.canonical}: the batch has {size} elements, not one for each device")
    return size


def _batched(program: Traceable, args: Sequence[Any], axes: Axes) -> Iterator[tuple[str, Any, int]]:
    """Yields the inputs that have a batch axis: name, array, axis."""
    for index, (arg, axis) in enumerate(zip(args, axes, strict=True)):
        if axis is not None:
            for name, leaf in named_leaves(program.parameter(index), arg):
                yield name, leaf, axis


def _on_each(program: Traceable, step: Step, size: int) -> Callable[..., NamedOutputs]:
    """Returns the function of a batch of ``size``, an element of which is on each device."""
    name = step["axis_name"] or AXIS_NAME
    mesh = abstract_mesh(Mesh(((name, size),)), step)

    def function(*args: Any) -> NamedOutputs:
        axes, names = _axes_of_leaves(args, step), list[str]()
        out_specs = [_spec(None if axis is None else 0, name) for axis in step["out_axes"]]
        on_all: Any = jax.shard_map(
            _on_one(program, step, tree_util.tree_structure(args), axes, names),
            mesh=mesh,
            in_specs=tuple(_spec(axis, name) for axis in axes),
            out_specs=out_specs[0] if len(out_specs) == 1 else tuple(out_specs),
            check_vma=False,  # as jax.pmap: what the derivative of psum is depends on it
        )
        values = on_all(*tree_util.tree_leaves(args))
        out_axes = axes_for(step["out_axes"], len(names), "outputs", step)
        moved = [
            jnp.moveaxis(value, 0, axis) if axis else value
            for value, axis in zip(values, out_axes, strict=True)
        ]
        return NamedOutputs(names, moved)

    return function


def _on_one(
    program: Traceable, step: Step, tree: Any, axes: Axes, names: list[str]
) -> Callable[..., tuple[Any, ...]]:
    """Returns the function of one device, from its shard of each input to that of each output.

    The batch's axis, of size 1, is the first one of each output.  ``names`` is filled with the
    names of the outputs.
    """
    inner = with_names(program.function)

    def on_one(*shards: Any) -> tuple[Any, ...]:
        elements = [
            shard if axis is None else jnp.squeeze(shard, axis)
            for shard, axis in zip(shards, axes, strict=True)
        ]
        outputs = inner(*tree_util.tree_unflatten(tree, elements))
        names[:] = outputs.names
        out_axes = axes_for(step["out_axes"], len(names), "outputs", step)
        return tuple(
            value if axis is None else value[None]
            for value, axis in zip(outputs.values, out_axes, strict=True)
        )

    return on_one


def _axes_of_leaves(args: Sequence[Any], step: Step) -> Axes:
    """Returns the batch axis of each input, from 0."""
    given = axes_for(step["in_axes"], len(args), "arguments", step)
    return tuple(
        axis if axis is None else axis % len(leaf.shape)
        for arg, axis in zip(args, given, strict=True)
        for leaf in tree_util.tree_leaves(arg)
    )


def _spec(axis: int | None, name: str) -> Any:
    return PartitionSpec() if axis is None else PartitionSpec(*[None] * axis, name)
