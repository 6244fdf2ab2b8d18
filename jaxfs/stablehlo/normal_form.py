"""One form for equal programs: what is compiled, and hashed, is free of where it came from.

Placement annotations, attributes of other frameworks, names and source locations go; the
signature has kept what users need of them.
"""

from __future__ import annotations

from typing import Any

from jaxlib.mlir import ir, passmanager
from jaxlib.mlir.dialects import stablehlo

from jaxfs.errors import Invalid
from jaxfs.stablehlo.custom_calls import PASS_THROUGH
from jaxfs.stablehlo.parse import collected_diagnostics
from jaxfs.stablehlo.walk import functions, operations, place

_FUNCTION_ATTRIBUTES = frozenset({"function_type", "sym_name", "sym_visibility"})
_PLACEMENT_ATTRIBUTES = ("mhlo.sharding", "sdy.", "mhlo.memory_kind", "mhlo.layout_mode", "jax.")
_COUNTS = ("mhlo.num_partitions", "mhlo.num_replicas")


def drop_placement(module: Any) -> None:
    """Remove what says where arrays stand.  Raises Invalid for programs of several devices."""
    _check_one_device(module)
    for operation in [operation for operation, _ in operations(module.operation)]:
        _drop_placement(operation)


def normalise(module: Any) -> None:
    """Bring a module that has no placement left into the form jaxfs compiles."""
    for function in functions(module).values():
        _drop_attributes(function, _FUNCTION_ATTRIBUTES)
    _drop_attributes(module.operation, frozenset())
    module.operation.attributes["sym_name"] = ir.StringAttr.get("main")
    run_passes(module, "strip-debuginfo")


def run_passes(module: Any, passes: str) -> None:
    """Run an MLIR pipeline over the module."""
    passmanager.PassManager.parse(f"builtin.module({passes})").run(module.operation)


def artifact(module: Any) -> bytes:
    """The module as a portable artifact of this toolchain's StableHLO version.

    CHLO operations (erf, top_k ...) stay: XLA compiles some of them better than their expansions.
    Raises Invalid for what StableHLO has no stored form of.
    """
    version = stablehlo.get_current_version()
    with collected_diagnostics(module.context) as diagnostics:
        try:
            return bytes(stablehlo.serialize_portable_artifact(module, version, True))
        except ValueError as error:
            why = (diagnostics or [str(error)])[0]
            raise Invalid(f"this cannot be stored: {why}", "\n".join(diagnostics)) from None


def _check_one_device(module: Any) -> None:
    attributes = module.operation.attributes
    for name in _COUNTS:
        if name in attributes and attributes[name].value != 1:
            raise Invalid(
                f"the program is for {attributes[name].value} devices ({name}); "
                "programs of several devices are not supported yet"
            )


def _drop_placement(operation: Any) -> None:
    if operation.name == "sdy.mesh":
        operation.erase()
    elif _is_annotation(operation):
        _replace_by_operand(operation)
    else:
        for name in [
            name for name in operation.attributes if name.startswith(_PLACEMENT_ATTRIBUTES)
        ]:
            del operation.attributes[name]


def _is_annotation(operation: Any) -> bool:
    if operation.name == "stablehlo.custom_call":
        return operation.attributes["call_target_name"].value in PASS_THROUGH
    return bool(operation.name == "sdy.sharding_constraint")


def _replace_by_operand(operation: Any) -> None:
    if [v.type for v in operation.operands] != [v.type for v in operation.results]:
        raise Invalid(f"{place(operation)}an array is sharded over several devices here")
    for result, operand in zip(operation.results, operation.operands, strict=True):
        result.replace_all_uses_with(operand)
    operation.erase()


def _drop_attributes(operation: Any, kept: frozenset[str]) -> None:
    for name in [name for name in operation.attributes if name not in kept]:
        del operation.attributes[name]
