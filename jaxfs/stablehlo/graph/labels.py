"""The labels of operations, types and constants in a picture."""

from __future__ import annotations

import re
from typing import Any

from jaxlib.mlir import ir

from jaxfs.stablehlo.importer.rules.elementwise import BINARY, UNARY
from jaxfs.stablehlo.module.mlir_types import aval_of

MAX_INNER = 2  # operations of a reduction's region that a label names
_ELEMENTWISE = {*UNARY, *BINARY, "select", "clamp", "compare", "map", "real", "imag"}
_MINOR = {"broadcast_in_dim", "reshape", "convert", "bitcast_convert", "optimization_barrier"}
_NOT_IN_XML = re.compile(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\ufffd]")
_MAX_LETTERS = 60


def shorten(text: str) -> str:
    """Returns a text of at most 60 letters, all of which XML can hold."""
    clean = _NOT_IN_XML.sub("?", text)
    return clean if len(clean) <= _MAX_LETTERS else clean[: _MAX_LETTERS - 1] + "…"


def operation_name(operation: Any) -> str:
    """Returns an operation's name without its dialect."""
    return shorten(operation.name.partition(".")[2] or operation.name)


def is_elementwise(operation: Any) -> bool:
    """Returns whether an operation works on each element by itself."""
    return operation_name(operation) in _ELEMENTWISE


def is_minor(operation: Any) -> bool:
    """Returns whether an operation only changes a shape or a type."""
    return operation_name(operation) in _MINOR


def label(operation: Any) -> str:
    """Returns the name of an operation, with what distinguishes it from others of the name.

    That is the target of a custom call, the direction of a comparison, and the operations of a
    short region: ``reduce (add)``.
    """
    name, attributes = operation_name(operation), operation.attributes
    if name == "custom_call":
        return shorten(f"{attributes['call_target_name'].value}")
    if name == "compare":
        return str(attributes["comparison_direction"]).rpartition(" ")[2].rstrip(">")
    inner = [
        operation_name(view.operation)
        for region in operation.regions
        for block in region.blocks
        for view in list(block.operations)[:-1]
    ]
    return f"{name} ({', '.join(inner)})" if 0 < len(inner) <= MAX_INNER else name


def type_label(mlir_type: Any) -> str:
    """Returns ``f32[16]``, as ``signature`` has it; for other types than arrays their kind."""
    aval = aval_of(mlir_type)
    return str(aval) if aval is not None else shorten(type(mlir_type).__name__.removesuffix("Type"))


def literal(operation: Any) -> str | None:
    """Returns the number of which a constant is full, None for other constants."""
    value = operation.attributes["value"]
    if not isinstance(value, ir.DenseElementsAttr) or not value.is_splat:
        return None
    number = value.get_splat_value()
    if isinstance(number, ir.FloatAttr):
        return f"{number.value:.4g}"
    return shorten(str(number).partition(" :")[0])
