"""What operations, types and constants are called in a picture."""

from __future__ import annotations

import re
from typing import Any

from jaxlib.mlir import ir

from jaxfs.stablehlo.importer.rules.elementwise import BINARY, UNARY
from jaxfs.stablehlo.module.mlir_types import aval_of

MOST_INSIDE = 2  # operations of a reduction's body that are named
_ELEMENTWISE = {*UNARY, *BINARY, "select", "clamp", "compare", "map", "real", "imag"}
_ASIDES = {"broadcast_in_dim", "reshape", "convert", "bitcast_convert", "optimization_barrier"}
_UNFIT = re.compile(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\ufffd]")  # for XML
_LONGEST = 60


def name_of(operation: Any) -> str:
    """Without its dialect."""
    return fit(operation.name.partition(".")[2] or operation.name)


def fit(text: str) -> str:
    """Short, and nothing that XML cannot hold."""
    clean = _UNFIT.sub("?", text)
    return clean if len(clean) <= _LONGEST else clean[: _LONGEST - 1] + "…"


def is_elementwise(operation: Any) -> bool:
    return name_of(operation) in _ELEMENTWISE


def is_aside(operation: Any) -> bool:
    """Whether it changes nothing but the shape or the type."""
    return name_of(operation) in _ASIDES


def label(operation: Any) -> str:
    """The name, and what makes the most of a difference."""
    name, attributes = name_of(operation), operation.attributes
    if name == "custom_call":
        return fit(f"{attributes['call_target_name'].value}")
    if name == "compare":
        return str(attributes["comparison_direction"]).rpartition(" ")[2].rstrip(">")
    inside = [
        name_of(inner.operation)
        for region in operation.regions
        for block in region.blocks
        for inner in list(block.operations)[:-1]
    ]
    return f"{name} ({', '.join(inside)})" if 0 < len(inside) <= MOST_INSIDE else name


def type_name(mlir_type: Any) -> str:
    """``f32[16]``, as ``signature`` has it; the kind of type for what is no array."""
    aval = aval_of(mlir_type)
    return str(aval) if aval is not None else fit(type(mlir_type).__name__.removesuffix("Type"))


def literal(operation: Any) -> str | None:
    """A constant that is one number, over and over; None for others."""
    value = operation.attributes["value"]
    if not isinstance(value, ir.DenseElementsAttr) or not value.is_splat:
        return None
    number = value.get_splat_value()
    if isinstance(number, ir.FloatAttr):
        return f"{number.value:.4g}"
    return fit(str(number).partition(" :")[0])
