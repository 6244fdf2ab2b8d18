"""Operations that run as they are: a module of one operation, as a primitive of JAX.

They can be called, and batched one by one; they have no derivative, and say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxfs import jaxcompat
from jaxfs.codecs.avals import BY_NUMPY, Aval
from jaxfs.errors import NotSupported
from jaxfs.stablehlo.importer.operation import Operation, Type

opaque_p = jaxcompat.Primitive("imported_stablehlo")
opaque_p.multiple_results = True


def import_opaque(operation: Operation, *operands: Any) -> Any:
    """The operation as it is.  Raises NotSupported where it looks at values around it."""
    outputs = [Type.of(result.type) for result in operation.mlir.results]
    arrays = [jnp.asarray(operand) for operand in operands]
    text = _module_text(operation.mlir, [_aval(a) for a in arrays], [_typed(o) for o in outputs])
    found = opaque_p.bind(
        *arrays,
        text=text,
        outputs=tuple((output.shape, np.dtype(output.dtype)) for output in outputs),
        what=f"{operation.name} at {operation.place}",
    )
    return found if len(found) != 1 else found[0]


def sort_permutation(operation: Operation, arrays: Sequence[Any], dimension: int) -> Any:
    """Where each element of the sorted arrays comes from, i32 of their shape."""
    keys = [lax.stop_gradient(array) for array in arrays]
    return sort_p.bind(
        *keys, region=_region_text(operation.mlir), dimension=dimension, types=_types(keys)
    )


def _types(arrays: Sequence[Any]) -> tuple[str, ...]:
    return tuple(str(_aval(array).row.mlir) for array in arrays)


def _aval(array: Any) -> Aval:
    return Aval(BY_NUMPY[np.dtype(array.dtype)].short, tuple(array.shape))


def _typed(output: Type) -> Aval:
    return Aval(BY_NUMPY[np.dtype(output.dtype)].short, output.shape)


def tensor(aval: Aval) -> str:
    """MLIR's name of a type."""
    return f"tensor<{''.join(f'{size}x' for size in aval.shape)}{aval.row.mlir}>"


def _generic(mlir: Any) -> str:
    return str(mlir.get_asm(print_generic_op_form=True, use_local_scope=True))


def _region_text(mlir: Any) -> str:
    text = _generic(mlir)
    return text[text.index("({") : text.rindex("})") + 2]


def _module_text(mlir: Any, inputs: Sequence[Aval], outputs: Sequence[Aval]) -> str:
    """A module whose ``main`` is one operation."""
    text = _generic(mlir)
    start, end = text.index("("), text.index(")")
    names = [f"%in{number}" for number in range(len(inputs))]
    body = f"{text[text.index(chr(34)) : start]}({', '.join(names)}){text[end + 1 :]}"
    takes = ", ".join(f"{n}: {tensor(a)}" for n, a in zip(names, inputs, strict=True))
    gives = ", ".join(map(tensor, outputs))
    results = ", ".join(f"%out#{n}" for n in range(len(outputs)))
    if len(outputs) == 1:
        results = "%out"
    left = f"%out{':' + str(len(outputs)) if len(outputs) > 1 else ''}"
    return (
        f"func.func public @main({takes}) -> ({gives}) {{\n"
        f"  {left} = {body}\n  func.return {results} : {gives}\n}}\n"
    )


def _abstract(*inputs: Any, outputs: Any, text: str, what: str) -> list[Any]:
    return [jaxcompat.shaped(shape, dtype) for shape, dtype in outputs]


def _differentiate(primals: Any, tangents: Any, *, what: str, **params: Any) -> Any:
    raise NotSupported(f"{what} has no derivative: it runs as it is")


def _one_by_one(values: Any, dimensions: Any, *, outputs: Any, **params: Any) -> Any:
    """A batch is a loop."""
    moved = [
        v if d is None else jnp.moveaxis(v, d, 0) for v, d in zip(values, dimensions, strict=True)
    ]
    batched = [v for v, d in zip(moved, dimensions, strict=True) if d is not None]

    def one(parts: Any) -> Any:
        rest = iter(parts)
        whole = [v if d is None else next(rest) for v, d in zip(moved, dimensions, strict=True)]
        return opaque_p.bind(*whole, outputs=outputs, **params)

    found = lax.map(one, batched)
    return found, [0] * len(found)


opaque_p.def_abstract_eval(_abstract)
jaxcompat.register(opaque_p, lambda text, **params: text, jvp=_differentiate, batching=_one_by_one)

# The permutation that sorts

sort_p = jaxcompat.Primitive("imported_sort_permutation")


def _sort_abstract(*arrays: Any, **params: Any) -> Any:
    return jaxcompat.shaped(arrays[0].shape, np.dtype(np.int32))


def _sort_text(*, region: str, dimension: int, types: tuple[str, ...], avals: Any) -> str:
    """Sorts the keys with an iota behind them, and gives the iota."""
    shape = "".join(f"{size}x" for size in avals[0].shape)
    tensors = [f"tensor<{shape}{element}>" for element in types]
    names = [f"%in{number}" for number in range(len(types))]
    takes = ", ".join(f"{n}: {t}" for n, t in zip(names, tensors, strict=True))
    places = f"tensor<{shape}i32>"
    every = ", ".join([*tensors, places])
    return (
        f"func.func public @main({takes}) -> {places} {{\n"
        f"  %places = stablehlo.iota dim = {dimension} : {places}\n"
        f'  %out:{len(types) + 1} = "stablehlo.sort"({", ".join([*names, "%places"])}) '
        f"<{{dimension = {dimension} : i64, is_stable = true}}> {_widened(region)} "
        f": ({every}) -> ({every})\n  func.return %out#{len(types)} : {places}\n}}\n"
    )


def _widened(region: str) -> str:
    """The comparator with two more arguments, the iota's."""
    end = region.index("):")
    return f"{region[:end]}, %place_a: tensor<i32>, %place_b: tensor<i32>{region[end:]}"


def _sort_batch(values: Any, dimensions: Any, *, dimension: int, **params: Any) -> Any:
    size = next(v.shape[d] for v, d in zip(values, dimensions, strict=True) if d is not None)
    moved = [
        jnp.broadcast_to(v, (size, *v.shape)) if d is None else jnp.moveaxis(v, d, 0)
        for v, d in zip(values, dimensions, strict=True)
    ]
    return sort_p.bind(*moved, dimension=dimension + 1, **params), 0


sort_p.def_abstract_eval(_sort_abstract)
jaxcompat.register(sort_p, _sort_text, batching=_sort_batch)
