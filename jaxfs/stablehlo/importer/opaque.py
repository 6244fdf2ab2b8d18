"""Operations that are not imported: each runs as it is, as a primitive that holds a module of it.

They can be called, and batched one by one.  A derivative raises CannotImport, with the operation.
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
    """Returns the results of an operation that runs as it is.

    Raises:
        NotSupported: It is not safe to run, or its regions use values from around it.
    """
    check = CHECKS.get(operation.name)
    reason = check(operation.mlir) if check else None
    if reason:
        raise operation.unsupported(reason)
    try:
        text = text_of(module_of(operation.mlir))
    except ValueError as error:
        raise NotSupported(str(error)) from None
    outputs = [Type.of(result.type) for result in operation.mlir.results]
    inputs = [Type.of(operand.type) for operand in operation.mlir.operands]
    found = opaque_p.bind(
        *(jnp.asarray(one, type_.dtype) for one, type_ in zip(operands, inputs, strict=True)),
        text=text,
        outputs=tuple((output.shape, np.dtype(output.dtype)) for output in outputs),
        what=operation.location_name,
    )
    return found if len(found) != 1 else found[0]


def _abstract(*inputs: Any, outputs: Any, text: str, what: str) -> list[Any]:
    """Returns the abstract values of the outputs, which are parameters."""
    return [jaxprs.shaped(shape, dtype) for shape, dtype in outputs]


def _differentiate(primals: Any, tangents: Any, *, what: str, **params: Any) -> Any:
    """Refuses derivatives.

    Raises:
        CannotImport: Always; the message names the operation.
    """
    raise CannotImport(f"{what} has no derivative: it runs as it is, JAX does not know it")


def _batch(values: Any, dimensions: Any, **params: Any) -> Any:
    """Runs a batch as a loop over its elements."""
    batched = [
        jnp.moveaxis(v, d, 0) for v, d in zip(values, dimensions, strict=True) if d is not None
    ]

    def one(elements: Any) -> Any:
        rest = iter(elements)
        inputs = [v if d is None else next(rest) for v, d in zip(values, dimensions, strict=True)]
        return opaque_p.bind(*inputs, **params)

    found = lax.map(one, batched)
    return found, [0] * len(found)


opaque_p.def_abstract_eval(_abstract)
jaxprs.register(opaque_p, lambda text, **_: text, jvp=_differentiate, batching=_batch)
