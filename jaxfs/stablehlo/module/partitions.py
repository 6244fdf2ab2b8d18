"""The number of devices a module is for, and the groups that its collectives name.

A program for several devices has whole arrays as inputs and outputs; Shardy's meshes and shardings
(``sdy``) spread them over its partitions, in older files GSPMD's ``mhlo.sharding``.  See
https://openxla.org/shardy.
"""

from __future__ import annotations

import math
from typing import Any

from jaxlib.mlir import ir
from jaxlib.mlir.dialects import sdy

from jaxfs.errors import Invalid

PARTITIONS = "mhlo.num_partitions"
_REPLICAS = "mhlo.num_replicas"
MAX_DEVICES = 9999
OPERATIONS = frozenset(  # of Shardy, as JAX writes them
    f"sdy.{name}"
    for name in ("mesh", "manual_computation", "return", "sharding_constraint", "reshard")
)
# Targets of custom calls that place data and compute nothing: on one device they are their operand.
PLACEMENT_TARGETS = frozenset(
    {"Sharding", "SPMDFullToShardShape", "SPMDShardToFullShape", "annotate_device_placement"}
)


def partition_count(module: Any) -> int:
    """Returns the number of devices that the module is for.

    Raises:
        Invalid: It has replicas, meshes of different sizes, or a count out of range.
    """
    replicas = _number(module, _REPLICAS)
    if replicas != 1:
        raise Invalid(
            f"the program is for {replicas} replicas ({_REPLICAS}), each with arrays of its own; "
            "write it for one and use transformations/pmap, or export it with shardings"
        )
    written = _number(module, PARTITIONS)
    top_level = [view.operation for view in module.body.operations]
    sizes = {mesh_size(one) for one in top_level if one.name == "sdy.mesh"} - {1}
    found = sizes | ({written} - {1})
    if len(found) > 1:
        raise Invalid(f"the program is for {written} devices, with meshes of {sorted(sizes)}")
    count = found.pop() if found else 1
    if not 1 <= count <= MAX_DEVICES:
        raise Invalid(f"the program is for {count} devices; it can be 1 to {MAX_DEVICES}")
    return count


def _number(module: Any, name: str) -> int:
    """Returns an integer attribute of the module, 1 if it has none of that name."""
    attributes = module.operation.attributes
    if name not in attributes:
        return 1
    if not isinstance(attributes[name], ir.IntegerAttr):
        raise Invalid(f"{name} is no number: {attributes[name]}")
    return int(attributes[name].value)


def set_partition_count(module: Any, count: int) -> None:
    """Sets the attribute that XLA and ``partition_count`` read."""
    attributes = module.operation.attributes
    for name in (PARTITIONS, _REPLICAS):
        if name in attributes:
            del attributes[name]
    if count > 1:
        i32 = ir.IntegerType.get_signless(32, context=module.context)
        attributes[PARTITIONS] = ir.IntegerAttr.get(i32, count)


def mesh_size(mesh: Any) -> int:
    """Returns the number of devices of an ``sdy.mesh``; one without axes is a single device."""
    axes = sdy.MeshAttr(mesh.attributes["mesh"]).axes
    return math.prod(sdy.MeshAxisAttr(axis).size for axis in axes)


def why_not_groups(groups: Any, count: int) -> str | None:
    """Returns why ``count`` devices cannot form these groups of a collective, None if they can.

    Groups that are named by the axes of a mesh are valid if the mesh is.
    """
    if not isinstance(groups, ir.DenseIntElementsAttr):
        return None if count > 1 else "names other devices than 0"
    numbers = {groups[i] for i in range(len(groups))} - {-1}  # -1 pads shorter groups
    if all(0 <= number < count for number in numbers):
        return None
    if count == 1:
        return "names other devices than 0"
    return f"names other devices than 0 to {count - 1}"
