"""Constants in other forms than ``dense<...>``, which XLA and the importer do not take.

torch-mlir and FX keep weights in the resource section of a file (``dense_resource<w>``), others
write zeros implicitly (``sparse<...>``), Shardy has a constant of its own.  All become dense.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any

import numpy as np
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

from jaxfs.errors import Invalid
from jaxfs.stablehlo.module.mlir_types import aval_of
from jaxfs.stablehlo.module.walk import place
from jaxfs.types.avals import BY_NUMPY, Aval

_Array = np.ndarray[Any, Any]
CONSTANTS = ("stablehlo.constant", "sdy.constant", "chlo.constant")
_RESOURCE = re.compile(r"dense_resource<(?P<name>.*)> : ")
_BLOB = re.compile(
    r'^ +(?P<name>"(?:[^"\\]|\\.)*"|[^\s":]+): "0x(?P<hex>[0-9A-Fa-f]*)"', re.MULTILINE
)
_SPARSE = re.compile(r"sparse<(?:(?P<indices>.*), (?P<values>[^,\[\]]+|\[[^\[\]]*\]))?> : ")
_ALIGNMENT_BYTES = 4  # before the data of a blob
_BITS = 8


class Resources:
    """The data of a module's resources, which only its print has; printed once, when needed."""

    def __init__(self, module: Any) -> None:
        self._module = module

    @cached_property
    def blobs(self) -> dict[str, bytes]:
        """The data by name."""
        section = str(self._module).rpartition("{-#")[2]
        return {
            found["name"].strip('"'): bytes.fromhex(found["hex"])[_ALIGNMENT_BYTES:]
            for found in _BLOB.finditer(section)
        }


def make_dense(operation: Any, resources: Resources) -> None:
    """Replaces a constant of any form by ``stablehlo.constant`` with dense values.

    Raises:
        Invalid: The constant has no values, or does not fit its type; the message has its line.
    """
    text = _form(operation)
    if text is None and operation.name == "stablehlo.constant":
        return
    with ir.InsertionPoint(operation), operation.location:
        made = _renamed(operation) if text is None else _dense(operation, text, resources)
    operation.results[0].replace_all_uses_with(made)
    operation.erase()


def _renamed(constant: Any) -> Any:
    """Returns ``stablehlo.constant`` with the values of another dialect's constant.

    It goes by the text, since the bindings have no class for complex values.
    """
    text = constant.get_asm(print_generic_op_form=True, use_local_scope=True)
    text = text.replace(f'"{constant.name}"', '"stablehlo.constant"', 1)
    made = ir.Operation.parse(text)
    ir.InsertionPoint(constant).insert(made)
    return made.results[0]


def _form(constant: Any) -> str | None:
    """Returns the text of a constant's values if they are not dense."""
    try:
        value = constant.attributes["value"]
    except TypeError:  # dense complex numbers, for which the bindings have no class
        return None
    if isinstance(value, ir.DenseElementsAttr) and not isinstance(
        value, ir.DenseResourceElementsAttr
    ):
        return None
    return str(value)


def dense_constant(array: _Array) -> Any:
    """Returns a new constant with the values of an array."""
    if array.dtype.kind == "c":  # the bindings have no class for its attribute
        real, imaginary = np.ascontiguousarray(array.real), np.ascontiguousarray(array.imag)
        return stablehlo.ComplexOp(dense_constant(real), dense_constant(imaginary)).result
    aval = Aval(BY_NUMPY[array.dtype].short, array.shape)
    return stablehlo.constant(dense_attribute(array.tobytes(), aval))


def dense_attribute(data: bytes, aval: Aval) -> Any:
    """Returns an array as MLIR's bindings take it: types without numpy's as bytes.

    Before jaxlib 0.10 they took bool as bits, since then as bytes.
    """
    array = np.frombuffer(data, aval.row.numpy).reshape(aval.shape)
    if array.dtype == np.bool_ and array.size <= _BITS:  # a single byte is one value for all
        nested = str(array.tolist()).lower()
        sizes = "".join(f"{size}x" for size in aval.shape)
        return ir.Attribute.parse(f"dense<{nested}> : tensor<{sizes}i1>")
    if not aval.row.is_native:
        array = array.view(np.dtype(f"uint{array.dtype.itemsize * 8}"))
    get: Any = ir.DenseElementsAttr.get  # its types do not admit arrays
    element = ir.Type.parse(aval.row.mlir)
    shape = list(aval.shape)
    try:
        return get(np.ascontiguousarray(array), type=element, shape=shape)
    except ValueError:
        if array.dtype != np.bool_:
            raise
        return get(np.packbits(array.reshape(-1), bitorder="little"), type=element, shape=shape)


def _dense(operation: Any, text: str, resources: Resources) -> Any:
    """Returns a constant with the values of another form."""
    aval = aval_of(operation.results[0].type)
    if aval is None:
        raise Invalid(f"{place(operation)}the constant is {text[:100]}, which is no plain array")
    if found := _RESOURCE.match(text):
        array = _from_resource(operation, found["name"].strip('"'), resources, aval)
    elif found := _SPARSE.match(text):
        array = _from_sparse(operation, found["indices"] or "", found["values"] or "", aval)
    else:
        form = text.partition("<")[0]
        raise Invalid(f"{place(operation)}the constant has the form {form}; write it as dense")
    return dense_constant(array)


def _from_resource(operation: Any, name: str, resources: Resources, aval: Aval) -> _Array:
    """Returns the array in a resource, where a bool is a byte, or a bit."""
    if name == "__elided__":
        raise Invalid(
            f"{place(operation)}the constant was left out when the program was printed "
            "(__elided__); print it whole, or write bytecode"
        )
    data = resources.blobs.get(name)
    if data is None:
        raise Invalid(f"{place(operation)}the file has no resource {name}; print it whole")
    if aval.row.mlir == "i1" and len(data) == -(-aval.nbytes // _BITS) != aval.nbytes:
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
        data = bits[: aval.nbytes].tobytes()
    if len(data) != aval.nbytes:
        raise Invalid(
            f"{place(operation)}the resource {name} has {len(data)} bytes, and {aval} takes "
            f"{aval.nbytes}"
        )
    return np.frombuffer(data, aval.row.numpy).reshape(aval.shape)


def _from_sparse(operation: Any, indices: str, values: str, aval: Aval) -> _Array:
    """Returns the array of a sparse constant's indices and values, as MLIR prints them."""
    array = np.zeros(aval.shape, aval.row.numpy)
    if not indices:
        return array
    rows = max(indices.count("[") - 1, 1)
    if "0x" in values:  # the bits of a number, in the width of its type
        raise _unread_sparse(operation)
    element = {"f": "f64", "V": "f64", "i": "i64", "u": "ui64", "b": "i1"}.get(array.dtype.kind)
    try:
        places = _parsed(indices, f"{rows}x{array.ndim}xi64")
        array[tuple(places.T)] = _parsed(values, f"{rows}x{element}").astype(array.dtype)
    except (ir.MLIRError, ValueError, TypeError, IndexError):
        raise _unread_sparse(operation) from None
    return array


def _unread_sparse(operation: Any) -> Invalid:
    return Invalid(
        f"{place(operation)}the constant has a sparse form that is not read; write it as dense"
    )


def _parsed(text: str, shape: str) -> _Array:
    attribute: Any = ir.DenseElementsAttr(ir.Attribute.parse(f"dense<{text}> : tensor<{shape}>"))
    sizes = tuple(attribute.type.shape)
    if attribute.is_splat:
        return np.full(sizes, attribute.get_splat_value().value)
    return np.array(attribute).reshape(sizes)
