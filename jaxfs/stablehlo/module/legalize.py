"""Replacement of operations that XLA:CPU and JAX compute differently, or not as specified.

One form serves both ways in which a program runs, so that it has one answer: as it is, and through
the importer, for transformations.

Specification: https://github.com/openxla/stablehlo/blob/main/docs/spec.md#maximum, #minimum,
#clamp, #bitcast_convert, #convolution, #rng_bit_generator, #dynamic_slice,
#dynamic_update_slice, #gather, #reduce, #reduce_window, #scatter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

from jaxfs.stablehlo.module.walk import operations
from jaxfs.types.avals import BY_MLIR

Legalization = Callable[[Any], Any]  # from an operation to its new first results, None to keep it
_LARGEST_INDEX = (1 << 31) - 1
_SIGNED = frozenset({"i2", "i4", "i8", "i16", "i32", "i64"})
_SMALLEST_BITS = 8  # of the integers in which bits are shifted and drawn


def legalize(module: Any) -> None:
    """Replaces the operations of a module that have a row in the table, where it applies."""
    found = [one for one, _ in operations(module.operation) if one.name in _LEGALIZATIONS]
    for operation in found:
        if not all(_is_static(value) for value in (*operation.operands, *operation.results)):
            continue
        with ir.InsertionPoint(operation), operation.location:
            values = _LEGALIZATIONS[operation.name](operation)
        if values is not None:
            for result, value in zip(operation.results, values, strict=True):
                result.replace_all_uses_with(value)
            operation.erase()


def _is_static(value: Any) -> bool:
    return isinstance(value.type, ir.RankedTensorType) and value.type.has_static_shape


def _with_element(tensor: Any, element: str) -> Any:
    """Returns the type of an array of the same shape with other elements."""
    return ir.RankedTensorType.get(tensor.shape, ir.Type.parse(element))


def _is_complex(value: Any) -> bool:
    return isinstance(value.type.element_type, ir.ComplexType)


def _compare(x: Any, y: Any, direction: str) -> Any:
    attribute = stablehlo.ComparisonDirectionAttr.get(direction)
    return stablehlo.CompareOp(x, y, attribute).result


def _first_or_last(x: Any, y: Any, direction: str) -> Any:
    """Returns the smaller of complex numbers for LT, the larger for GT, in lexicographic order.

    XLA:CPU takes the real and the imaginary part each by itself.
    """
    of_x, of_y = stablehlo.RealOp(x).result, stablehlo.RealOp(y).result
    by_real = _compare(of_x, of_y, direction)
    by_imag = _compare(stablehlo.ImagOp(x).result, stablehlo.ImagOp(y).result, direction)
    which = stablehlo.SelectOp(_compare(of_x, of_y, "EQ"), by_imag, by_real).result
    return stablehlo.SelectOp(which, x, y).result


def _maximum(operation: Any) -> Any:
    x, y = operation.operands
    return [_first_or_last(x, y, "GT")] if _is_complex(x) else None


def _minimum(operation: Any) -> Any:
    x, y = operation.operands
    return [_first_or_last(x, y, "LT")] if _is_complex(x) else None


def _clamp(operation: Any) -> Any:
    """Returns ``minimum(maximum(x, low), high)`` of complex numbers."""
    low, x, high = operation.operands
    if not _is_complex(x):
        return None
    low, high = (
        stablehlo.BroadcastInDimOp(x.type, bound, []).result if bound.type != x.type else bound
        for bound in (low, high)
    )
    return [_first_or_last(_first_or_last(x, low, "GT"), high, "LT")]


def _bitcast_convert(operation: Any) -> Any:
    """Returns single bits as shifted integers, and the reverse, the lowest bit first.

    XLA counts a boolean as 8 bits.
    """
    x, result = operation.operands[0], operation.results[0].type
    source, target = str(x.type.element_type), str(result.element_type)
    if (source == "i1") == (target == "i1"):
        return None
    return [_bits_of(x, result) if target == "i1" else _from_bits(x, result)]


def _width(element: str) -> int:
    return BY_MLIR[element].bits


def _bits_of(x: Any, result: Any) -> Any:
    width = result.shape[-1]
    word = f"ui{max(width, _SMALLEST_BITS)}"
    number = _as_number(x, width, word)
    wide = _with_element(result, word)
    dimensions = list(range(len(x.type.shape)))
    spread = stablehlo.BroadcastInDimOp(wide, number, dimensions).result
    shifted = stablehlo.ShiftRightLogicalOp(spread, _places(wide)).result
    lowest = stablehlo.AndOp(shifted, _splat(wide, 1)).result
    return stablehlo.ConvertOp(result, lowest).result


def _as_number(x: Any, width: int, word: str) -> Any:
    """Returns the bits of an array as unsigned integers, which may be wider."""
    bits = stablehlo.BitcastConvertOp(_with_element(x.type, f"ui{width}"), x).result
    return stablehlo.ConvertOp(_with_element(x.type, word), bits).result


def _from_bits(x: Any, result: Any) -> Any:
    width = x.type.shape[-1]
    word = f"ui{max(width, _SMALLEST_BITS)}"
    wide = _with_element(x.type, word)
    bits = stablehlo.ConvertOp(wide, x).result
    shifted = stablehlo.ShiftLeftOp(bits, _places(wide)).result
    number = _sum_of_last(shifted, _with_element(result, word))
    narrow = stablehlo.ConvertOp(_with_element(result, f"ui{width}"), number).result
    return stablehlo.BitcastConvertOp(result, narrow).result


def _places(tensor: Any) -> Any:
    """Returns 0, 1, 2, ... along the last dimension."""
    return stablehlo.IotaOp(tensor, len(tensor.shape) - 1).result


def _splat(tensor: Any, number: int) -> Any:
    return stablehlo.ConstantOp(ir.Attribute.parse(f"dense<{number}> : {tensor}")).result


def _sum_of_last(x: Any, result: Any) -> Any:
    """Returns the sums of integers over the last dimension."""
    scalar = ir.RankedTensorType.get([], result.element_type)
    last = ir.DenseI64ArrayAttr.get([len(x.type.shape) - 1])
    made: Any = stablehlo.ReduceOp([result], [x], [_splat(scalar, 0)], last)
    block = made.regions[0].blocks.append(scalar, scalar)
    with ir.InsertionPoint(block):
        stablehlo.ReturnOp([stablehlo.AddOp(*block.arguments).result])
    return made.results[0]


def _rng_bit_generator(operation: Any) -> Any:
    """Returns unsigned bits, converted to the element type of the result.

    XLA:CPU draws unsigned integers of whole bytes, whatever the result's type.  Signed integers
    have these bits; floating-point numbers are these integers, rounded.
    """
    result = operation.results[1].type
    element = str(result.element_type)
    row = BY_MLIR.get(element)
    if row is None or (element.startswith("ui") and row.bits >= _SMALLEST_BITS):
        return None
    word = _with_element(result, f"ui{max(row.bits, _SMALLEST_BITS)}")
    state = operation.operands[0]
    algorithm = operation.attributes["rng_algorithm"]
    new_state, bits = stablehlo.RngBitGeneratorOp(state.type, word, algorithm, state).results
    if element in _SIGNED:
        bits = stablehlo.ConvertOp(_with_element(result, f"u{element}"), bits).result
        return [new_state, stablehlo.BitcastConvertOp(result, bits).result]
    return [new_state, stablehlo.ConvertOp(result, bits).result]


def _convolution(operation: Any) -> Any:
    """Returns a convolution of a slice, without negative padding.

    XLA:CPU reads memory beyond the array if one edge is negative and another is positive.
    """
    if "padding" not in operation.attributes:
        return None
    flat: Any = ir.DenseIntElementsAttr(operation.attributes["padding"])
    edges = list(map(int, flat))
    if min(edges, default=0) >= 0:
        return None
    numbers = stablehlo.ConvDimensionNumbers(operation.attributes["dimension_numbers"])
    spatial = list(numbers.input_spatial_dimensions)
    dilations = [1] * len(spatial)
    if "lhs_dilation" in operation.attributes:
        dilations = list(ir.DenseI64ArrayAttr(operation.attributes["lhs_dilation"]))
    x = operation.operands[0]
    start, limit, padding = [0] * len(x.type.shape), list(x.type.shape), []
    for axis, (dimension, dilation) in enumerate(zip(spatial, dilations, strict=True)):
        size, low, high = x.type.shape[dimension], edges[2 * axis], edges[2 * axis + 1]
        start[dimension], limit[dimension], *pair = _cropped(size, dilation, low, high)
        padding += pair
    cut = stablehlo.SliceOp(x, *map(ir.DenseI64ArrayAttr.get, (start, limit, [1] * len(start))))
    operation.operands[0] = cut.result
    text = f"dense<{[padding[i : i + 2] for i in range(0, len(padding), 2)]}>"
    operation.attributes["padding"] = ir.Attribute.parse(f"{text} : tensor<{len(spatial)}x2xi64>")
    return None


def _cropped(size: int, dilation: int, low: int, high: int) -> tuple[int, int, int, int]:
    """Returns the slice of a dimension, and its edges, that equal negative edges.

    Between two elements are ``dilation - 1`` zeros.  What is left of them stays as padding.

    >>> _cropped(4, 1, -1, 2), _cropped(4, 2, -1, 0), _cropped(2, 1, -3, 5)
    ((1, 4, 0, 2), (1, 4, 1, 0), (0, 0, 4, 0))
    """
    start = -(low // dilation) if low < 0 else 0
    stop = size + (high // dilation) if high < 0 else size
    if start >= stop:
        whole = (size - 1) * dilation + 1 if size else 0
        return 0, 0, max(whole + low + high, 0), 0
    return start, stop, low + start * dilation, high + (size - stop) * dilation


def _promoted(operation: Any) -> None:
    """Converts the arrays of a reduction to the types in which it is computed.

    XLA and JAX reduce arrays in their own type only.
    """
    count = len(operation.operands) // 2
    for number in range(count):
        x, initial = operation.operands[number], operation.operands[count + number]
        element = initial.type.element_type
        if x.type.element_type != element:
            wide = ir.RankedTensorType.get(x.type.shape, element)
            operation.operands[number] = stablehlo.ConvertOp(wide, x).result


def _indexed(first: int) -> Legalization:
    """Returns the replacement of narrow indices, which are the operands from ``first`` on."""

    def widen(operation: Any) -> None:
        for number in range(first, len(operation.operands)):
            operation.operands[number] = _wide_index(operation.operands[number])

    return widen


def _scattered(operation: Any) -> None:
    number = len(operation.operands) // 2
    operation.operands[number] = _wide_index(operation.operands[number])


def _wide_index(index: Any) -> Any:
    """Returns indices in a type that has every place of an array.

    They are clamped to the last place, which may wrap around in their own type: 199 is -57 in i8.
    """
    element = str(index.type.element_type)
    if element in ("i32", "i64"):
        return index
    if element in ("ui32", "ui64"):
        index = stablehlo.MinOp(index, _splat(index.type, _LARGEST_INDEX)).result
    return stablehlo.ConvertOp(_with_element(index.type, "i32"), index).result


_LEGALIZATIONS: dict[str, Legalization] = {
    "stablehlo.bitcast_convert": _bitcast_convert,
    "stablehlo.clamp": _clamp,
    "stablehlo.convolution": _convolution,
    "stablehlo.dynamic_slice": _indexed(1),
    "stablehlo.dynamic_update_slice": _indexed(2),
    "stablehlo.gather": _indexed(1),
    "stablehlo.maximum": _maximum,
    "stablehlo.minimum": _minimum,
    "stablehlo.reduce": _promoted,
    "stablehlo.reduce_window": _promoted,
    "stablehlo.rng_bit_generator": _rng_bit_generator,
    "stablehlo.scatter": _scattered,
    "stablehlo.torch_index_select": _indexed(1),
}
