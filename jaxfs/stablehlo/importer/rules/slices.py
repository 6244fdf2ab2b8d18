"""slice, and slices that together are a split.

JAX lowers a split to slices.  The derivative of each slice is a padded array, and all of them are
added up; that of a split is one concatenation.

Specification: https://github.com/openxla/stablehlo/blob/main/docs/spec.md#slice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from jax import lax
from jaxlib.mlir import ir

from jaxfs.stablehlo.importer.op import Operation, Rule


@attrs.frozen
class _Slice:
    """The attributes of a slice.

    Attributes:
        start: The first index, in each dimension.
        limit: The index after the last one.
        strides: The steps between indices.
    """

    start: tuple[int, ...]
    limit: tuple[int, ...]
    strides: tuple[int, ...]

    @classmethod
    def of(cls, mlir: Any) -> _Slice:
        """Returns the slice of an MLIR operation ``stablehlo.slice``, one number a dimension."""
        keys = ("start_indices", "limit_indices", "strides")
        return cls(*(tuple(ir.DenseI64ArrayAttr(mlir.attributes[key])) for key in keys))


def static_slice(operation: Operation, x: Any) -> Any:
    """Imports a slice, as an output of a split where all slices of its operand are one.

    The split is made at the first slice and kept in the operation's memo for the others.
    """
    own = _Slice.of(operation.mlir)
    source = operation.mlir.operands[0]
    if source not in operation.memo:
        operation.memo[source] = _split(x, source, operation.mlir.block)
    piece = operation.memo[source].get(own)
    return lax.slice(x, own.start, own.limit, own.strides) if piece is None else piece


def _split(x: Any, source: Any, block: Any) -> Mapping[_Slice, Any]:
    """Returns the values of all slices of ``source`` in a block if they are a split, or none."""
    users = (use.owner.operation for use in source.uses)
    mlir = [user for user in users if user.name == "stablehlo.slice" and user.block == block]
    slices = sorted({_Slice.of(one) for one in mlir}, key=lambda one: one.start)
    dimension = _dimension(slices, tuple(x.shape))
    if dimension is None:
        return {}
    sizes = [one.limit[dimension] - one.start[dimension] for one in slices]
    return dict(zip(slices, lax.split(x, sizes, dimension), strict=True))


def _dimension(slices: list[_Slice], shape: tuple[int, ...]) -> int | None:
    """Returns the dimension in which slices follow one another and make the whole, or None."""
    cut = {
        d
        for one in slices
        for d, size in enumerate(shape)
        if (one.start[d], one.limit[d]) != (0, size)
    }
    if len(cut) != 1 or any(stride != 1 for one in slices for stride in one.strides):
        return None
    (dimension,) = cut
    ends = [0, *(one.limit[dimension] for one in slices)]
    starts = [*(one.start[dimension] for one in slices), shape[dimension]]
    return dimension if starts == ends else None


RULES: dict[str, Rule] = {
    "stablehlo.slice": static_slice,
}
