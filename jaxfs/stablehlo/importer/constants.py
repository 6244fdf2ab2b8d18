"""Conversion of a module's constants to numpy arrays.

MLIR's bindings have the elements of common types only; those of others are read from the text.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from jaxlib.mlir import ir

from jaxfs.errors import NotSupported
from jaxfs.stablehlo.importer.op import Type

_BUFFERED = frozenset("?bhilqBHILQefd")  # numpy types whose elements the bindings have
_HEX = re.compile(r'dense<"0x([0-9A-Fa-f]*)">')
_NUMBER = re.compile(r"\(\s*([^,()]+),\s*([^,()]+)\)|([^\s,\[\]()]+)")
_BOOLEANS = {"true": 1, "false": 0}


def constant_of(mlir: Any, type_: Type) -> np.ndarray[Any, Any]:
    """Returns the array of a constant operation."""
    try:
        attribute = mlir.attributes["value"]
    except TypeError:  # complex elements: the bindings have no such attribute
        text = str(mlir.get_asm(print_generic_op_form=True, use_local_scope=True))
        return _by_text(
            text[text.index("dense<") : text.rindex("}>")], type_, np.dtype(type_.dtype)
        )
    return decode(attribute, type_)


def decode(attribute: Any, type_: Type) -> np.ndarray[Any, Any]:
    """Returns the array of a dense attribute of the given type."""
    dtype = np.dtype(type_.dtype)
    if 0 in type_.shape:
        return np.empty(type_.shape, dtype)
    if isinstance(attribute, ir.DenseResourceElementsAttr):
        raise NotSupported("constants kept in resources cannot be imported")
    if dtype.char in _BUFFERED and dtype.kind in "?biuf":
        return _by_buffer(ir.DenseElementsAttr(attribute), type_, dtype)
    return _by_text(str(attribute), type_, dtype)


def splat_of(value: Any) -> float | None:
    """Returns the number of which a real constant is full, also if it was broadcast, else None."""
    owner = value.owner
    while not isinstance(owner, ir.Block) and owner.name == "stablehlo.broadcast_in_dim":
        owner = owner.operands[0].owner
    if isinstance(owner, ir.Block) or owner.name != "stablehlo.constant":
        return None
    try:
        attribute = owner.attributes["value"]
    except TypeError:  # complex elements, as above
        return None
    array = decode(attribute, Type.of(owner.results[0].type))
    return float(array.reshape(-1)[0]) if array.size and np.all(array == array.flat[0]) else None


def _by_buffer(attribute: Any, type_: Type, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    if attribute.is_splat:
        value = attribute.get_splat_value().value
        scalar = np.array(value).astype(dtype)
        return np.broadcast_to(scalar, type_.shape) if type_.shape else scalar
    return np.array(attribute).astype(dtype).reshape(type_.shape)


def _by_text(text: str, type_: Type, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    found = _HEX.match(text)
    if found:
        flat = np.frombuffer(bytes.fromhex(found[1]), dtype)
    else:
        body = text[text.index("<") + 1 : text.rindex(">:") if ">:" in text else text.rindex("> :")]
        flat = np.array([_number(m, dtype) for m in _NUMBER.finditer(body)]).astype(dtype)
    if flat.size == 1:
        return np.broadcast_to(flat.reshape(()), type_.shape)
    return flat.reshape(type_.shape)


def _number(match: re.Match[str], dtype: np.dtype[Any]) -> Any:
    """Returns a number of a dense attribute's text, in which a complex one is ``(real, imag)``."""
    if match[1] is not None:
        real = np.dtype(np.float32 if dtype == np.complex64 else np.float64)
        return complex(_real(match[1], real), _real(match[2], real))
    return _real(match[3], dtype)


def _real(text: str, dtype: np.dtype[Any]) -> float:
    """Returns a number; hexadecimal digits are the bits of one, as of infinities and NaNs."""
    text = text.strip()
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if text.startswith("0x"):
        bits = int(text, 16).to_bytes(dtype.itemsize, "little")
        return float(np.frombuffer(bits, dtype)[0])
    return float(text)
