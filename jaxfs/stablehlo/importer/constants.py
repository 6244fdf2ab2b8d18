"""Constants of a module -> numpy arrays.

The bindings give the elements of common types only; those of others are read from the text.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from jaxlib.mlir import ir

from jaxfs.errors import NotSupported
from jaxfs.stablehlo.importer.op import Type

_BUFFERED = frozenset("?bhilqBHILQefd")  # numpy's type characters the bindings know
_HEX = re.compile(r'dense<"0x([0-9A-Fa-f]*)">')
_NUMBER = re.compile(r"\(\s*([^,()]+),\s*([^,()]+)\)|([^\s,\[\]()]+)")
_WORDS = {"true": 1, "false": 0}


def constant_of(mlir: Any, result: Type) -> np.ndarray[Any, Any]:
    """The array of a constant operation."""
    try:
        attribute = mlir.attributes["value"]
    except TypeError:  # complex elements: the bindings cannot even hand out the attribute
        text = str(mlir.get_asm(print_generic_op_form=True, use_local_scope=True))
        return _by_text(
            text[text.index("dense<") : text.rindex("}>")], result, np.dtype(result.dtype)
        )
    return decode(attribute, result)


def decode(attribute: Any, result: Type) -> np.ndarray[Any, Any]:
    """The array of a dense attribute."""
    dtype = np.dtype(result.dtype)
    if 0 in result.shape:
        return np.empty(result.shape, dtype)
    if isinstance(attribute, ir.DenseResourceElementsAttr):
        raise NotSupported("constants kept in resources cannot be imported")
    if dtype.char in _BUFFERED and dtype.kind in "?biuf":
        return _by_buffer(ir.DenseElementsAttr(attribute), result, dtype)
    return _by_text(str(attribute), result, dtype)


def splat_of(value: Any) -> float | None:
    """The real number that a constant is full of, also if it was broadcast."""
    owner = value.owner
    while not isinstance(owner, ir.Block) and owner.name == "stablehlo.broadcast_in_dim":
        owner = owner.operands[0].owner
    if isinstance(owner, ir.Block) or owner.name != "stablehlo.constant":
        return None
    try:
        attribute = owner.attributes["value"]
    except TypeError:  # complex ones, as above
        return None
    array = decode(attribute, Type.of(owner.results[0].type))
    return float(array.reshape(-1)[0]) if array.size and np.all(array == array.flat[0]) else None


def _by_buffer(attribute: Any, result: Type, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    if attribute.is_splat:
        value = attribute.get_splat_value().value
        scalar = np.array(value).astype(dtype)
        return np.broadcast_to(scalar, result.shape) if result.shape else scalar
    return np.array(attribute).astype(dtype).reshape(result.shape)


def _by_text(text: str, result: Type, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    found = _HEX.match(text)
    if found:
        flat = np.frombuffer(bytes.fromhex(found[1]), dtype)
    else:
        body = text[text.index("<") + 1 : text.rindex(">:") if ">:" in text else text.rindex("> :")]
        flat = np.array([_number(m, dtype) for m in _NUMBER.finditer(body)]).astype(dtype)
    if flat.size == 1:
        return np.broadcast_to(flat.reshape(()), result.shape)
    return flat.reshape(result.shape)


def _number(match: re.Match[str], dtype: np.dtype[Any]) -> Any:
    if match[1] is not None:
        part = np.dtype(np.float32 if dtype == np.complex64 else np.float64)
        return complex(_real(match[1], part), _real(match[2], part))
    return _real(match[3], dtype)


def _real(word: str, dtype: np.dtype[Any]) -> float:
    """Hexadecimal digits are the bits of a number: infinities and NaNs are written so."""
    word = word.strip()
    if word in _WORDS:
        return _WORDS[word]
    if word.startswith("0x"):
        bits = int(word, 16).to_bytes(dtype.itemsize, "little")
        return float(np.frombuffer(bits, dtype)[0])
    return float(word)
