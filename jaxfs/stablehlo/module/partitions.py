"""On how many devices a module runs, and who meets whom there.

A program of several devices takes and gives whole arrays; how they are spread over its partitions
is said by Shardy's meshes and shardings (``sdy``), in older files by GSPMD's ``mhlo.sharding``.
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
    """How many devices the module is for.  Raises Invalid where it contradicts itself."""
    replicas = _number(module, _REPLICAS)
    if replicas != 1:
        raise Invalid(
            f"the program is for {replicas} replicas ({_REPLICAS}), each with arrays of its own; "
            "write it for one and use transformations/pmap, or export it with shardings"
        )
    told = _number(module, PARTITIONS)
    sizes = {mesh_size(o.operation) for o in module.body.operations if _is_mesh(o)} - {1}
    found = sizes | ({told} - {1})
    if len(found) > 1:
        raise Invalid(f"the program is for {told} devices, with meshes of {sorted(sizes)}")
    count = found.pop() if found else 1
    if not 1 <= count <= MAX_DEVICES:
        raise Invalid(f"the program is for {count} devices; it can be 1 to {MAX_DEVICES}")
    return count


def _number(module: Any, name: str) -> int:
    attributes = module.operation.attributes
    if name not in attributes:
        return 1
    if not isinstance(attributes[name], ir.IntegerAttr):
        raise Invalid(f"{name} is no number: {attributes[name]}")
    return int(attributes[name].value)


def set_partition_count(module: Any, count: int) -> None:
    """Write the number where XLA and ``partition_count`` look for it."""
    attributes = module.operation.attributes
    for name in (PARTITIONS, _REPLICAS):
        if name in attributes:
            del attributes[name]
    if count > 1:
        i32 = ir.IntegerType.get_signless(32, context=module.context)
        attributes[PARTITIONS] = ir.IntegerAttr.get(i32, count)


def mesh_size(mesh: Any) -> int:
    """The devices of an ``sdy.mesh``; one without axes names a single device."""
    axes = sdy.MeshAttr(mesh.attributes["mesh"]).axes
    return math.prod(sdy.MeshAxisAttr(axis).size for axis in axes)


def _is_mesh(operation: Any) -> bool:
    return bool(operation.operation.name == "sdy.mesh")


def why_not_groups(groups: Any, count: int) -> str | None:
    """Why devices cannot meet in these groups of a collective, None where they can.

    Groups that are named by a mesh's axes are as good as the mesh.
    """
    if not isinstance(groups, ir.DenseIntElementsAttr):
        return None if count > 1 else "names other devices than 0"
    numbers = {groups[i] for i in range(len(groups))} - {-1}  # -1 fills up shorter groups
    if all(0 <= number < count for number in numbers):
        return None
    if count == 1:
        return "names other devices than 0"
    return f"names other devices than 0 to {count - 1}"
