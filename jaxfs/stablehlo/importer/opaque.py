"""Operations that run as they are: a module of one operation, as a primitive of JAX.

They can be called, and batched one by one; they have no derivative, and say so.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxfs.errors import NotSupported
from jaxfs.jaxcompat import jaxprs
from jaxfs.stablehlo.importer.op import CannotImport, Operation, Type
from jaxfs.stablehlo.importer.single_op_module import module_of, text_of
from jaxfs.stablehlo.validate.dangerous_operations import CHECKS

opaque_p = jaxprs.Primitive("imported_stablehlo")
opaque_p.multiple_results = True


def import_opaque(operation: Operation, *operands: Any) -> Any:
    """The operation as it is.  Raises NotSupported where it is not safe, or looks at values around
    it."""
    why_not = CHECKS.get(operation.name)
    reason = why_not(operation.mlir) if why_not else None
    if reason:
        raise operation.unsupported(reason)
    outputs = [Type.of(result.type) for result in operation.mlir.results]
    inputs = [Type.of(operand.type) for operand in operation.mlir.operands]
    found = opaque_p.bind(
        *(jnp.asarray(one, type_.dtype) for one, type_ in zip(operands, inputs, strict=True)),
        text=_text(operation),
        outputs=tuple((output.shape, np.dtype(output.dtype)) for output in outputs),
        what=operation.location_name,
    )
    return found if len(found) != 1 else found[0]


def _text(operation: Operation) -> str:
    try:
        return text_of(module_of(operation.mlir))
    except ValueError as error:
        raise NotSupported(str(error)) from None


def _abstract(*inputs: Any, outputs: Any, text: str, what: str) -> list[Any]:
    return [jaxprs.shaped(shape, dtype) for shape, dtype in outputs]


def _differentiate(primals: Any, tangents: Any, *, what: str, **params: Any) -> Any:
    raise CannotImport(f"{what} has no derivative: it runs as it is, JAX does not know it")


def _one_by_one(values: Any, dimensions: Any, **params: Any) -> Any:
    """A batch is a loop."""
    batched = [
        jnp.moveaxis(v, d, 0) for v, d in zip(values, dimensions, strict=True) if d is not None
    ]

    def one(parts: Any) -> Any:
        rest = iter(parts)
        whole = [v if d is None else next(rest) for v, d in zip(values, dimensions, strict=True)]
        return opaque_p.bind(*whole, **params)

    found = lax.map(one, batched)
    return found, [0] * len(found)


opaque_p.def_abstract_eval(_abstract)
jaxprs.register(opaque_p, lambda text, **_: text, jvp=_differentiate, batching=_one_by_one)
