"""Vectorization: programs for batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import jax
from jax import tree_util

from jaxfs.compiler.traceable import Traceable, shape_struct
from jaxfs.compiler.transforms.named_outputs import NamedOutputs, with_names
from jaxfs.compiler.transforms.table import Axes, Step
from jaxfs.errors import Invalid
from jaxfs.types.partial_avals import UNKNOWN, KnownAval, PartialAval

BATCH_UNKNOWN = "the size of the batch comes with the call; vmap:axis_size=N would fix it"


def vmap(program: Traceable, step: Step) -> Traceable:
    """Maps the program over a batch, as jax.vmap.

    The size of the batch comes with the call, or from ``axis_size``. The result donates no
    arguments.
    """
    size = step["axis_size"]
    batched = attrs.evolve(program, function=vmapped(program, step, size), donated=())
    return batch_of(batched, step, size, BATCH_UNKNOWN)


def vmapped(program: Traceable, step: Step, size: int | None) -> Callable[..., NamedOutputs]:
    """Returns the program's function for a batch of ``size``; None: the inputs have it."""
    inner = with_names(program.function)

    def function(*args: Any) -> NamedOutputs:
        names: list[str] = []

        def flat(*one: Any) -> tuple[Any, ...]:
            outputs = inner(*one)
            names[:] = outputs.names
            if len(step["out_axes"]) > 1:
                axes_for(step["out_axes"], len(names), "outputs", step)
            return outputs.values

        out = step["out_axes"]
        batched: Any = jax.vmap(
            flat,
            in_axes=axes_for(step["in_axes"], len(args), "arguments", step),
            out_axes=out[0] if len(out) == 1 else out,
            axis_size=size,
            axis_name=step["axis_name"],
        )
        return NamedOutputs(names, batched(*args))

    return function


def batch_of(program: Traceable, step: Step, size: int | None, unknown: str) -> Traceable:
    """Returns the program with the types of a batch.

    Args:
        program: The program, whose function takes a batch already.
        step: The transformation, for its ``in_axes``.
        size: The size of the batch; None if it comes with the call, then there are no types.
        unknown: Why there are no types, for users.
    """
    args = None if size is None else _batched_args(program, step, size)
    tree = program.in_tree if args is None else None
    reason = program.reason if size is not None else unknown
    known = () if args is not None else _known(program, step, size or UNKNOWN)
    return attrs.evolve(program, args=args, tree=tree, known=known, reason=reason)


def axes_for(axes: Axes, count: int, what: str, step: Step) -> Axes:
    """Returns an axis for each of ``count`` arguments or outputs; a single one is for all.

    Raises:
        Invalid: There are more or fewer; the reason has ``what``.
    """
    if len(axes) == 1:
        return axes * count
    if len(axes) != count:
        raise Invalid(f"{step.canonical}: {len(axes)} axes for {count} {what}")
    return axes


def _batched_args(program: Traceable, step: Step, size: int) -> tuple[Any, ...] | None:
    """Returns the types of the arguments, each with the batch's axis where ``in_axes`` has it.

    Returns:
        None if the program has no types yet.
    """
    if program.args is None:
        return None
    axes = axes_for(step["in_axes"], len(program.args), "arguments", step)
    return tuple(_with_axis(arg, axis, size) for arg, axis in zip(program.args, axes, strict=True))


def _with_axis(arg: Any, axis: int | None, size: int) -> Any:
    if axis is None:
        return arg

    def grow(leaf: Any) -> Any:
        return shape_struct(_inserted(leaf.shape, axis, size), leaf.dtype)

    return tree_util.tree_map(grow, arg)


def _inserted(shape: Sequence[Any], axis: int, size: Any) -> tuple[Any, ...]:
    """Returns a shape with another axis; a negative number counts from the end of the new shape.

    Raises:
        Invalid: The array has too few dimensions for it.
    """
    place = axis if axis >= 0 else axis + len(shape) + 1
    if not 0 <= place <= len(shape):
        raise Invalid(f"in_axes: an array of {len(shape)} dimensions gets no axis {axis}")
    return (*shape[:place], size, *shape[place:])


def _known(program: Traceable, step: Step, size: int | str) -> tuple[KnownAval, ...]:
    """Returns what is known of the inputs, with the batch's axis.

    If there may be more arguments than names, only the trace can check the axes.
    """
    counts, axes = program.leaf_counts(), step["in_axes"]
    if None in program.inputs and len(axes) not in (1, len(counts)):
        return ()
    each = axes_for(axes, len(counts), "arguments", step)
    of_leaves = [axis for count, axis in zip(counts, each, strict=True) for _ in range(count)]
    return tuple(
        known
        if known is None or axis is None
        else PartialAval(known.dtype, _inserted(known.sizes, axis, size))
        for known, axis in zip(program.inputs, of_leaves, strict=True)
    )
