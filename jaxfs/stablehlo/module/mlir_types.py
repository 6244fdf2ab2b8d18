"""Conversion between MLIR types and avals."""

from __future__ import annotations

import math
from typing import Any

from jaxlib.mlir import ir

from jaxfs.errors import Invalid
from jaxfs.types.avals import BY_MLIR, Aval

MAX_ELEMENTS = 1 << 46  # beyond, XLA's size arithmetic overflows
MAX_RANK = 64  # numpy's


def tensor_type(aval: Aval) -> Any:
    """Returns the MLIR type of an aval, in the current context."""
    return ir.Type.parse(f"tensor<{''.join(f'{n}x' for n in aval.shape)}{aval.row.mlir}>")


def aval_of(mlir_type: Any) -> Aval | None:
    """Returns the aval of a static array type, None for any other type."""
    return None if why_not_array(mlir_type) else _aval(mlir_type)


def checked_aval(mlir_type: Any, what: str) -> Aval:
    """Returns the aval of an array type.

    Raises:
        Invalid: It is no array type; the message names ``what`` has it.
    """
    why = why_not_array(mlir_type)
    if why:
        raise Invalid(f"{what} is {type_text(mlir_type)}: {why}")
    return _aval(mlir_type)


def why_not_array(mlir_type: Any) -> str | None:
    """Returns why jaxfs has no values of a type, None if it has."""
    if not isinstance(mlir_type, ir.RankedTensorType):
        return "only arrays (ranked tensors) are supported"
    if not mlir_type.has_static_shape:
        return "dynamic shapes are not supported yet; export with static shapes"
    if mlir_type.encoding is not None:
        return "only plain arrays are supported, without an encoding"
    if str(mlir_type.element_type) not in BY_MLIR:
        return f"the element type {mlir_type.element_type} is not supported"
    return why_not_shape(tuple(mlir_type.shape))


def why_not_shape(shape: tuple[int, ...]) -> str | None:
    """Returns why there can be no array of a shape, None if there can."""
    if any(size < 0 for size in shape):  # damaged bytecode has them, text cannot
        return "it has a negative dimension"
    if len(shape) > MAX_RANK:
        return f"it has over {MAX_RANK} dimensions"
    if math.prod(size for size in shape if size) > MAX_ELEMENTS:  # numpy counts 0 as 1 here
        return f"it has over 2^{MAX_ELEMENTS.bit_length() - 1} elements"
    return None


def type_text(mlir_type: Any) -> str:
    """Returns a type as MLIR writes it, or its kind if the text may be long.

    A tuple of equal tuples is small in memory and 2^depth characters long in print, and so is an
    encoding.
    """
    if not isinstance(mlir_type, ir.RankedTensorType):
        return type(mlir_type).__name__
    return "a tensor with an encoding" if mlir_type.encoding is not None else str(mlir_type)


def _aval(mlir_type: Any) -> Aval:
    return Aval(BY_MLIR[str(mlir_type.element_type)].short, tuple(mlir_type.shape))
