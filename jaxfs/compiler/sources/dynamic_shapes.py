"""Shapes that come with the call: `?` in StableHLO, symbolic sizes in jax.export artifacts.

StableHLO's passes do the work: the inputs' types are written into ``main`` and propagated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
from jaxlib.mlir import ir

from jaxfs.compiler.job_protocol import UntypedProgram
from jaxfs.errors import Invalid
from jaxfs.jaxcompat import export
from jaxfs.stablehlo.module.canonicalize import fill_buffers, run_passes
from jaxfs.stablehlo.module.entry_function import entry_block
from jaxfs.stablehlo.module.mlir_types import checked_aval, tensor_type, why_not_shape
from jaxfs.stablehlo.module.parse import parse_bytecode, verify
from jaxfs.types.avals import BY_MLIR, Aval
from jaxfs.types.partial_avals import UNKNOWN, PartialAval, as_partial


def is_dynamic(main: Any) -> bool:
    """Returns whether the type of an input or output has a `?`."""
    function = main.attributes["function_type"].value
    return any(
        isinstance(t, ir.RankedTensorType) and not t.has_static_shape
        for t in (*function.inputs, *function.results)
    )


def argument_types(main: Any) -> list[PartialAval]:
    """Returns the types of ``main``'s arguments.

    Raises:
        Invalid: One is no array, or has a dtype that JAX does not have.
    """
    return [_partial(a.type, f"argument {i}") for i, a in enumerate(entry_block(main).arguments)]


def _partial(mlir_type: Any, what: str) -> PartialAval:
    is_array = isinstance(mlir_type, ir.RankedTensorType) and mlir_type.encoding is None
    if not is_array or str(mlir_type.element_type) not in BY_MLIR:
        return as_partial(checked_aval(mlir_type, what))  # raises what is wrong
    sizes = [
        UNKNOWN if mlir_type.is_dynamic_dim(i) else int(mlir_type.shape[i])
        for i in range(mlir_type.rank)
    ]
    if why := why_not_shape(tuple(size for size in sizes if isinstance(size, int))):
        raise Invalid(f"{what} is {mlir_type}: {why}")
    return PartialAval(BY_MLIR[str(mlir_type.element_type)].short, tuple(sizes))


def untyped_program(
    source_format: str, names: Sequence[str], inputs: Sequence[PartialAval]
) -> UntypedProgram:
    """Returns the description of a program that has no types before the call."""
    parameters = tuple(name or f"arg{i}" for i, name in enumerate(names))
    unknown = [f"{n} {p}" for n, p in zip(parameters, inputs, strict=True) if p.aval is None]
    reason = f"sizes come with the call: {', '.join(unknown)}"[:1000]
    return UntypedProgram(source_format, parameters, reason, tuple(inputs))


def refine(module: Any, types: Sequence[Aval]) -> Any:
    """Returns the module for inputs of these types.

    Raises:
        Invalid: The program does not take such sizes.
    """
    context = module.context
    listed = ",".join(str(tensor_type(aval)) for aval in types)
    if types:
        run_passes(module, f"stablehlo-refine-arguments{{types={listed}}}")
    try:
        data = export.refine_shapes(module)
    except jax.errors.JaxRuntimeError as error:
        raise _size_error(str(error)) from None
    refined = parse_bytecode(context, data, "a program of fixed sizes")
    fill_buffers(refined)  # those whose sizes came with the call
    verify(context, refined)
    return refined


def _size_error(message: str) -> Invalid:
    """Returns the error for a message of MLIR: its first line without locations and advice."""
    first = message.splitlines()[0] if message else "no reason given"
    reason = first.rpartition("error: ")[2].removeprefix('loc("shape_assertion"): ')
    reason = reason.partition("  Using the following polymorphic shapes")[0]
    return Invalid(f"the program does not take these sizes: {reason}", message)
