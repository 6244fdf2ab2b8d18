"""Attributes of dialects that are not registered, which other compilers leave in their dumps.

Such an attribute on the module, a function, an argument or an operation is discardable: it belongs
to the tool that wrote it and means nothing to StableHLO, see
https://mlir.llvm.org/docs/LangRef/#discardable-attributes.  Operations and types of such a dialect,
and settings of custom calls, decide what a program computes: they are refused.
"""

from __future__ import annotations

from typing import Any

from jaxlib.mlir import ir

from jaxfs.errors import Invalid
from jaxfs.stablehlo.module.walk import operations, place

_MEANING = ("mhlo.", "stablehlo.", "sdy.", "jax.")  # attributes that XLA or JAX read
_OF_VALUES = ("arg_attrs", "res_attrs")  # dictionaries for each argument and result of a function


def is_about_unregistered(report: str) -> bool:
    """Returns whether an error of MLIR's parsers is about a dialect that is not registered."""
    return "unregistered" in report.lower()


def drop_foreign_attributes(module: Any) -> None:
    """Removes the discardable attributes that hold one of an unregistered dialect.

    Raises:
        Invalid: The module has an operation of such a dialect, or one of its attributes where it
            has a meaning; the message names it.
    """
    context = module.context
    for operation, _ in [(module.operation, 0), *operations(module.operation)]:
        if not context.is_registered_operation(operation.name):
            raise Invalid(f"{place(operation)}{operation.name} is no StableHLO operation")
        attributes = operation.attributes
        for name in list(attributes):
            found = attributes[name]
            if name in _OF_VALUES:
                attributes[name] = ir.ArrayAttr.get([_without_foreign(one) for one in found])
            elif _is_foreign(found):
                _check_discardable(operation, name)
                del attributes[name]


def _check_discardable(operation: Any, name: str) -> None:
    """Checks that an attribute of an unknown dialect does not decide what an operation computes.

    Raises:
        Invalid: It does.
    """
    is_setting = operation.name == "stablehlo.custom_call" and "." not in name
    if is_setting or name.startswith(_MEANING):
        raise Invalid(
            f"{place(operation)}{operation.name} has an attribute of an unknown dialect in {name}, "
            "which decides what it computes"
        )


def _without_foreign(entries: Any) -> Any:
    """Returns the attributes of an argument or result, without those of unknown dialects."""
    return ir.DictAttr.get({one.name: one.attr for one in entries if not _is_foreign(one.attr)})


def _is_foreign(attribute: Any) -> bool:
    """Returns whether an attribute is, or contains, one of an unregistered dialect."""
    if isinstance(attribute, ir.ArrayAttr):
        return any(map(_is_foreign, attribute))
    if isinstance(attribute, ir.DictAttr):
        entries: Any = attribute  # its stub has no iteration
        return any(_is_foreign(entry.attr) for entry in entries)
    if isinstance(attribute, ir.TypeAttr):
        return isinstance(attribute.value, ir.OpaqueType)
    return isinstance(attribute, ir.OpaqueAttr)
