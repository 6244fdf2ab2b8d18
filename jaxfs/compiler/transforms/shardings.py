"""Shardings of jit: a program whose arrays are sharded over a mesh of devices.

There are no devices while tracing.  The mesh is an abstract one, the module has shardings over its
partitions, and as many devices come with its compilation.
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
    """Returns the program with its arrays sharded over a mesh; its values stay the same.

    Raises:
        Invalid: There are shardings without a mesh, or with an axis that the mesh does not have.
    """
    if step["mesh"] is None:
        if step["in_shardings"] or step["out_shardings"]:
            raise Invalid(f"{step.canonical}: shardings need a mesh, as mesh=x4")
        return program
    mesh, inner = step["mesh"], with_names(program.function)
    for spec in (*step["in_shardings"], *step["out_shardings"]):
        _check_names(spec, mesh, step)

    def function(*args: Any) -> NamedOutputs:
        names: list[str] = []
        abstract = abstract_mesh(mesh, step)
        ins = _each(step["in_shardings"], len(args), "arguments", step)
        for index, (arg, spec) in enumerate(zip(args, ins, strict=True)):
            _check_sizes(program.parameter(index), arg, spec, mesh, step)

        def flat(*inputs: Any) -> tuple[Any, ...]:
            outputs = inner(*inputs)
            names[:] = outputs.names
            outs = _each(step["out_shardings"], len(names), "outputs", step)
            for (name, value), spec in zip(outputs.pairs, outs, strict=True):
                _check_sizes(name, value, spec, mesh, step)
            return tuple(
                value if spec is None else constrain(value, _sharding(abstract, spec))
                for value, spec in zip(outputs.values, outs, strict=True)
            )

        with jax.sharding.use_abstract_mesh(abstract):
            shardings = tuple(s if s is None else _sharding(abstract, s) for s in ins)
            values = jax.jit(flat, in_shardings=shardings)(*args)
        return NamedOutputs(names, values)

    return attrs.evolve(program, function=function)


def abstract_mesh(mesh: Mesh, step: Step) -> AbstractMesh:
    """Returns the mesh without devices.

    Raises:
        NotSupported: The program around this one is sharded over another mesh.
    """
    kinds = (AxisType.Auto,) * len(mesh.axes)
    made = AbstractMesh(mesh.sizes, mesh.names, axis_types=kinds)
    around = jax.sharding.get_abstract_mesh()
    if not around.empty and around != made:
        raise NotSupported(
            f"{step.canonical}: the program around it is spread over devices already; "
            "JAX has one mesh a program, use vmap for one of the two"
        )
    return made


def _sharding(mesh: AbstractMesh, spec: ShardingSpec) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec(*(names or None for names in spec.dimensions)))


def _each(
    specs: Sequence[ShardingSpec | None], count: int, what: str, step: Step
) -> Sequence[ShardingSpec | None]:
    """Returns one for each of ``count`` arrays; a single one is for all."""
    if len(specs) <= 1:
        return [*specs, None][:1] * count
    if len(specs) != count:
        raise Invalid(f"{step.canonical}: {len(specs)} shardings for {count} {what}")
    return specs


def _check_names(spec: ShardingSpec | None, mesh: Mesh, step: Step) -> None:
    """Checks that a sharding names axes of the mesh only.

    Raises:
        Invalid: It names another axis.
    """
    for name in spec.names if spec else ():
        if name not in mesh.names:
            known = ", ".join(mesh.names)
            raise Invalid(f"{step.canonical}: the mesh has no axis {name}, only {known}")


def _check_sizes(name: str, tree: Any, spec: ShardingSpec | None, mesh: Mesh, step: Step) -> None:
    """Checks that a sharding fits the shapes of an input or an output.

    Raises:
        Invalid: A dimension does not exist, or its devices do not divide it.
    """
    for path, leaf in named_leaves(name, tree) if spec else ():
        found = describe([(path, leaf)])
        for axis, names in enumerate(spec.dimensions if spec else ()):
            if axis >= len(leaf.shape):
                raise Invalid(f"{step.canonical}: {found} has no dimension {axis} to spread")
            if leaf.shape[axis] % (count := mesh.count(names)):
                raise Invalid(
                    f"{step.canonical}: dimension {axis} of {found} is not divisible by the "
                    f"{count} devices of {'+'.join(names)}"
                )
