"""Lowers a traceable to a module: JAX traces it, then the module is validated like any other."""

from __future__ import annotations

from typing import Any

import jax
from jax import tree_util

from jaxfs.compiler.sources.detect import ParsedSource
from jaxfs.compiler.traceable import Traceable, as_aval
from jaxfs.compiler.transforms.named_outputs import name_outputs
from jaxfs.compiler.user_errors import BY_JAX, as_user_error
from jaxfs.errors import Invalid
from jaxfs.stablehlo.module.argument_names import unique
from jaxfs.stablehlo.module.canonicalize import settle_placement
from jaxfs.stablehlo.module.entry_function import find_main, read_signature
from jaxfs.stablehlo.validate.module import check_module
from jaxfs.types.signature import Param, Signature

_PLATFORMS = {"gpu": "cuda"}  # devices have gpu, lowerings cuda


def lower(program: Traceable, platform: str, *, wide: bool) -> ParsedSource:
    """Returns the module of a program with types.

    Args:
        program: The program.
        platform: Where it is to run.
        wide: Whether JAX computes with 64 bits.

    Raises:
        Invalid: The function raised, or the module is not one that jaxfs runs.
    """
    leaves, tree = tree_util.tree_flatten(program.args)
    names: list[str] = []

    def flat(*inputs: Any) -> tuple[Any, ...]:
        outputs = name_outputs(program.function(*tree_util.tree_unflatten(tree, inputs)))
        names[:] = unique(outputs.names)
        return outputs.values

    kinds = (BaseException,) if program.source_format == "pickle" else BY_JAX
    with jax.enable_x64(wide), as_user_error(program.names(), kinds):
        traced = jax.jit(flat, keep_unused=True).trace(*leaves)
        outputs = tree_util.tree_leaves(traced.out_info)
        lowered = traced.lower(lowering_platforms=(_PLATFORMS.get(platform, platform),))
    module = lowered.compiler_ir("stablehlo")
    with module.context:
        settle_placement(module)
        check_module(module)
        found = read_signature(find_main(module))
    signature = Signature(
        tuple(map(Param, program.names(), map(as_aval, leaves), program.donated_inputs())),
        tuple(map(Param, names, map(as_aval, outputs))),
    )
    traced_types = (signature.input_avals, signature.output_avals)
    if traced_types != (found.input_avals, found.output_avals):
        raise Invalid("the function was lowered to other types than it was traced with")
    return ParsedSource(module, signature, program.source_format, program.platforms)
