"""jit with shardings: a program whose arrays are spread over a mesh of devices.

Tracing knows no devices.  The mesh is an abstract one, the module says how arrays are spread over
its partitions, and whoever compiles it brings as many devices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import jax
from jax.sharding import AbstractMesh, AxisType, NamedSharding

from jaxfs.compiler.meshes import Mesh, ShardingSpec
from jaxfs.compiler.traceable import Traceable, named_leaves
from jaxfs.compiler.transforms.arguments import describe
from jaxfs.compiler.transforms.named_outputs import NamedOutputs, with_names
from jaxfs.compiler.transforms.table import Step
from jaxfs.errors import Invalid, NotSupported

PartitionSpec: Any = jax.sharding.PartitionSpec  # its constructor has no types
constrain: Any = jax.lax.with_sharding_constraint  # nor has this


def with_shardings(program: Traceable, step: Step) -> Traceable:
    """The program with its arrays spread over a mesh; the numbers stay the same."""
    if step["mesh"] is None:
        if step["in_shardings"] or step["out_shardings"]:
            raise Invalid(f"{step.canonical}: shardings need a mesh, as mesh=x4")
        return program
    mesh, inner = step["mesh"], with_names(program.function)
    for spread in (*step["in_shardings"], *step["out_shardings"]):
        _check_names(spread, mesh, step)

    def function(*args: Any) -> NamedOutputs:
        names: list[str] = []
        abstract = abstract_mesh(mesh, step)
        ins = _each(step["in_shardings"], len(args), "arguments", step)
        for index, (arg, spread) in enumerate(zip(args, ins, strict=True)):
            _check_sizes(program.parameter(index), arg, spread, mesh, step)

        def flat(*inputs: Any) -> tuple[Any, ...]:
            outputs = inner(*inputs)
            names[:] = outputs.names
            outs = _each(step["out_shardings"], len(names), "outputs", step)
            for (name, value), spread in zip(outputs.pairs, outs, strict=True):
                _check_sizes(name, value, spread, mesh, step)
            return tuple(
                value if spread is None else constrain(value, _sharding(abstract, spread))
                for value, spread in zip(outputs.values, outs, strict=True)
            )

        with jax.sharding.use_abstract_mesh(abstract):
            shardings = tuple(s if s is None else _sharding(abstract, s) for s in ins)
            values = jax.jit(flat, in_shardings=shardings)(*args)
        return NamedOutputs(names, values)

    return attrs.evolve(program, function=function)


def abstract_mesh(mesh: Mesh, step: Step) -> AbstractMesh:
    """Raises NotSupported inside a program that is spread over another mesh already."""
    kinds = (AxisType.Auto,) * len(mesh.axes)
    made = AbstractMesh(mesh.sizes, mesh.names, axis_types=kinds)
    around = jax.sharding.get_abstract_mesh()
    if not around.empty and around != made:
        raise NotSupported(
            f"{step.canonical}: the program around it is spread over devices already; "
            "JAX has one mesh a program, use vmap for one of the two"
        )
    return made


def _sharding(mesh: AbstractMesh, spread: ShardingSpec) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec(*(names or None for names in spread.dimensions)))


def _each(
    spreads: Sequence[ShardingSpec | None], count: int, what: str, step: Step
) -> Sequence[ShardingSpec | None]:
    """One for each of ``count`` arrays; a single one is for all."""
    if len(spreads) <= 1:
        return [*spreads, None][:1] * count
    if len(spreads) != count:
        raise Invalid(f"{step.canonical}: {len(spreads)} shardings for {count} {what}")
    return spreads


def _check_names(spread: ShardingSpec | None, mesh: Mesh, step: Step) -> None:
    for name in spread.names if spread else ():
        if name not in mesh.names:
            known = ", ".join(mesh.names)
            raise Invalid(f"{step.canonical}: the mesh has no axis {name}, only {known}")


def _check_sizes(name: str, tree: Any, spread: ShardingSpec | None, mesh: Mesh, step: Step) -> None:
    """Raise Invalid for a dimension that is not there, or that its devices cannot share evenly."""
    for path, leaf in named_leaves(name, tree) if spread else ():
        told = describe([(path, leaf)])
        for axis, names in enumerate(spread.dimensions if spread else ()):
            if axis >= len(leaf.shape):
                raise Invalid(f"{step.canonical}: {told} has no dimension {axis} to spread")
            if leaf.shape[axis] % (count := mesh.count(names)):
                raise Invalid(
                    f"{step.canonical}: dimension {axis} of {told} is not divisible by the "
                    f"{count} devices of {'+'.join(names)}"
                )
