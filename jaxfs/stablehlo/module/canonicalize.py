"""One form for equal programs, whatever framework and file they come from.

Placement annotations, attributes of other frameworks, names and source locations are removed before
a program is hashed and compiled; the signature keeps those that users need.  Programs for several
devices keep the shardings of their arrays.
"""

from __future__ import annotations

from typing import Any

from jaxlib.mlir import ir, passmanager
from jaxlib.mlir.dialects import stablehlo

from jaxfs.errors import Invalid, NotSupported
from jaxfs.stablehlo.module.entry_function import find_main
from jaxfs.stablehlo.module.legalize import legalize
from jaxfs.stablehlo.module.parse import collected_diagnostics
from jaxfs.stablehlo.module.partitions import (
    PARTITIONS,
    PLACEMENT_TARGETS,
    partition_count,
    set_partition_count,
)
from jaxfs.stablehlo.module.shardy import HINT_TARGETS, ROUND_TRIP_TARGETS, drop_shardy
from jaxfs.stablehlo.module.walk import functions, operations, place

_FUNCTION_ATTRIBUTES = frozenset({"function_type", "sym_name", "sym_visibility"})
_SHARDINGS = ("mhlo.sharding", "sdy.sharding")
_MEMORIES = ("mhlo.memory_kind", "mhlo.layout_mode", "jax.")
_BUFFER = "AllocateBuffer"
_TO_MEMORY = "annotate_device_placement"
_TO_EACH = "SPMDFullToShardShape"
_ROUND_TRIP = "xla.sdy.meshes"  # where files from before 2026 keep Shardy's meshes


class NotStorable(Invalid):
    """StableHLO has no stored form of an operation, as of ``chlo.scan``."""


def settle_placement(module: Any) -> None:
    """Removes memory placement, and for a program of one device all placement.

    Memory that no operation has written is filled, see ``fill_buffers``.

    Raises:
        Invalid: The parts of the module are for different numbers of devices.
    """
    _read_round_trip(module)
    fill_buffers(module)
    count = partition_count(module)
    set_partition_count(module, count)
    if count == 1:
        drop_placement(module)
    else:
        _drop_memories(module)


def fill_buffers(module: Any) -> None:
    """Replaces memory without content by zeros.

    ``jnp.empty`` is lowered to it for GPUs and TPUs, and it would show what earlier calls left
    there.  Without a static shape it stays, and is refused.
    """
    for operation in [operation for operation, _ in operations(module.operation)]:
        if _target(operation) != _BUFFER or len(operation.operands) or len(operation.results) != 1:
            continue
        found = operation.results[0].type
        if isinstance(found, ir.RankedTensorType) and found.has_static_shape:
            with ir.InsertionPoint(operation), operation.location:
                zeros = _zeros(found)
            operation.results[0].replace_all_uses_with(zeros)
            operation.erase()


def _zeros(tensor: Any) -> Any:
    """Returns a value of a type with zeros, or with ones where it has no zero."""
    element = tensor.element_type
    if isinstance(element, ir.ComplexType):  # its constants have no form in the Python bindings
        part = _zeros(ir.RankedTensorType.get(tensor.shape, element.element_type))
        return stablehlo.ComplexOp(part, part).result
    name = str(element)
    zero = "0.0" if name.startswith(("f", "bf")) else "false" if name == "i1" else "0"
    text = f"dense<{'1.0' if name == 'f8E8M0FNU' else zero}> : {tensor}"
    return stablehlo.ConstantOp(ir.Attribute.parse(text)).result


def make_whole(module: Any) -> None:
    """Turns a program for several devices into an equal one for a single device.

    Raises:
        NotSupported: Each device runs code of its own (``shard_map``).
    """
    if partition_count(module) == 1:
        return
    for operation, _ in operations(module.operation):
        if operation.name == "sdy.manual_computation" or _target(operation) == _TO_EACH:
            raise NotSupported(
                f"{place(operation)}each device computes by itself here (shard_map), so the "
                "program can only run as it is; transform the function before it is exported"
            )
    drop_placement(module)


def drop_placement(module: Any) -> None:
    """Turns a module in which shardings are annotations only into one for a single device."""
    set_partition_count(module, 1)
    for operation in reversed([operation for operation, _ in operations(module.operation)]):
        if operation.name.startswith("sdy.") or _target(operation) in ROUND_TRIP_TARGETS:
            drop_shardy(operation)
        elif _target(operation) in PLACEMENT_TARGETS:
            _replace_by_operand(operation)
        else:
            _drop_prefixed(operation, (*_MEMORIES, "mhlo.sharding", "sdy."))


def normalise(module: Any) -> None:
    """Brings a module into the form that jaxfs compiles, after ``settle_placement``."""
    legalize(module)
    is_spread = partition_count(module) > 1
    for function in functions(module).values():
        shardings = _shardings(function) if is_spread else {}
        _drop_attributes(function, _FUNCTION_ATTRIBUTES)
        for name, attribute in shardings.items():
            function.attributes[name] = attribute
    _drop_attributes(module.operation, frozenset({PARTITIONS}))
    module.operation.attributes["sym_name"] = ir.StringAttr.get("main")
    run_passes(module, "strip-debuginfo")


def run_passes(module: Any, passes: str) -> None:
    """Runs an MLIR pass pipeline over the module."""
    passmanager.PassManager.parse(f"builtin.module({passes})").run(module.operation)


def artifact(module: Any) -> bytes:
    """Returns the module as a portable artifact of this toolchain's StableHLO version.

    CHLO operations (erf, top_k ...) stay: XLA compiles some of them better than their expansions.
    The format is https://github.com/openxla/stablehlo/blob/main/docs/compatibility.md.

    Raises:
        NotStorable: StableHLO has no stored form of an operation.
    """
    version = stablehlo.get_current_version()
    with collected_diagnostics(module.context) as diagnostics:
        try:
            return bytes(stablehlo.serialize_portable_artifact(module, version, True))
        except ValueError as error:
            why = (diagnostics or [str(error)])[0]
            raise NotStorable(f"this cannot be stored: {why}", "\n".join(diagnostics)) from None


def _read_round_trip(module: Any) -> None:
    """Turns the attributes in which older files keep Shardy's dialect into its operations."""
    key, attributes = "mhlo.frontend_attributes", module.operation.attributes
    if key in attributes and _ROUND_TRIP in attributes[key]:
        find_main(module)  # the passes abort the process if a function has no body
        run_passes(module, "xla-sdy-round-trip-import-shardy-attrs,sdy-lift-inlined-meshes")


def _shardings(function: Any) -> dict[str, Any]:
    """Returns the attributes of a function's arguments and results, only with their shardings."""

    def only_shardings(entry: Any) -> Any:
        return ir.DictAttr.get({item.name: item.attr for item in entry if item.name in _SHARDINGS})

    return {
        key: ir.ArrayAttr.get([only_shardings(entry) for entry in function.attributes[key]])
        for key in ("arg_attrs", "res_attrs")
        if key in function.attributes
    }


def _drop_memories(module: Any) -> None:
    for operation in [operation for operation, _ in operations(module.operation)]:
        if _target(operation) == _TO_MEMORY:
            _replace_by_operand(operation)
        elif _target(operation) in HINT_TARGETS:
            drop_shardy(operation)
        else:
            _drop_prefixed(operation, _MEMORIES)


def _target(operation: Any) -> str:
    """Returns the target of a custom call, and an empty string for other operations."""
    if operation.name != "stablehlo.custom_call":
        return ""
    return str(operation.attributes["call_target_name"].value)


def _replace_by_operand(operation: Any) -> None:
    """Replaces the results of an operation by its operands, and erases it.

    Raises:
        Invalid: Their types differ, so that an array is sharded over several devices.
    """
    if [v.type for v in operation.operands] != [v.type for v in operation.results]:
        raise Invalid(f"{place(operation)}an array is sharded over several devices here")
    for result, operand in zip(operation.results, operation.operands, strict=True):
        result.replace_all_uses_with(operand)
    operation.erase()


def _drop_prefixed(operation: Any, prefixes: tuple[str, ...]) -> None:
    for name in [name for name in operation.attributes if name.startswith(prefixes)]:
        del operation.attributes[name]


def _drop_attributes(operation: Any, kept: frozenset[str]) -> None:
    for name in [name for name in operation.attributes if name not in kept]:
        del operation.attributes[name]
