"""Traceable -> module: JAX traces and lowers, then the module is checked like any other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
from jax import tree_util

from jaxfs.errors import Invalid
from jaxfs.stablehlo.checks import check_main, check_module
from jaxfs.stablehlo.main_function import read_signature
from jaxfs.stablehlo.names import result_name, unique
from jaxfs.stablehlo.normal_form import drop_placement
from jaxfs.stablehlo.signature import Param, Signature
from jaxfs.tracer.source import Program
from jaxfs.tracer.told import as_python_tells
from jaxfs.tracer.traceable import Traceable, as_aval


def lower(program: Traceable, platform: str, *, wide: bool) -> Program:
    """The module of a program whose types are known.

    ``wide`` is whether JAX computes with 64 bits.  Raises Invalid with what the function raised, or
    for what came out and cannot run here.
    """
    leaves, tree = tree_util.tree_flatten(program.args)
    structures: list[Any] = []

    def flat(*inputs: Any) -> list[Any]:
        outputs = program.function(*tree_util.tree_unflatten(tree, inputs))
        structures.append(tree_util.tree_structure(outputs))
        return tree_util.tree_leaves(outputs)

    with jax.enable_x64(wide), as_python_tells():
        traced = jax.jit(flat, keep_unused=True).trace(*leaves)
        outputs = tree_util.tree_leaves(traced.out_info)
        lowered = traced.lower(lowering_platforms=(platform,))
    module = lowered.compiler_ir("stablehlo")
    with module.context:
        drop_placement(module)
        check_module(module)
        found = read_signature(check_main(module))
    inputs = [Param(n, as_aval(leaf)) for n, leaf in zip(program.names(), leaves, strict=True)]
    signature = Signature(tuple(inputs), _outputs(structures[-1], outputs))
    _check_same(signature, found)
    return Program(module, signature, program.source_format, program.platforms)


def _outputs(tree: Any, outputs: Sequence[Any]) -> tuple[Param, ...]:
    filled = tree_util.tree_unflatten(tree, range(tree.num_leaves))
    paths = [tree_util.keystr(path) for path, _ in tree_util.tree_flatten_with_path(filled)[0]]
    names = unique(result_name(f"result{path}") for path in paths)
    return tuple(Param(n, as_aval(one)) for n, one in zip(names, outputs, strict=True))


def _check_same(told: Signature, found: Signature) -> None:
    if (told.input_avals, told.output_avals) != (found.input_avals, found.output_avals):
        raise Invalid("the function was lowered to other types than it was traced with")
