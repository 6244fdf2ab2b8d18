"""Makes Python functions of StableHLO programs, so that JAX can transform them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import msgspec
import numpy as np
from jax import dtypes, tree_util
from jaxlib.mlir import ir

from jaxfs.compiler.job_protocol import UntypedProgram
from jaxfs.compiler.sources import exported_file, jax_export
from jaxfs.compiler.sources.detect import ParsedSource, Types
from jaxfs.compiler.sources.stablehlo import read_module
from jaxfs.compiler.traceable import Traceable, as_aval, as_struct
from jaxfs.compiler.transforms.named_outputs import NamedOutputs
from jaxfs.errors import Invalid
from jaxfs.stablehlo import import_module
from jaxfs.stablehlo.importer import ImportedFunction
from jaxfs.stablehlo.module.canonicalize import make_whole
from jaxfs.types.avals import Aval

Flat = Callable[..., NamedOutputs]
Arrays = Callable[..., tuple[Any, ...]]
VjpReader = Callable[[Types], ParsedSource | None]  # from the types of inputs and outputs


class _Pytrees(msgspec.Struct, frozen=True):
    """The pytrees of a function; their leaves are the positions of the inputs and outputs.

    Attributes:
        args: The arguments.
        names: The name of each argument.
        result: The result; None for a flat list with the names of the signature.
    """

    args: tuple[Any, ...]
    names: tuple[str, ...]
    result: Any = None


def import_program(
    context: ir.Context, source: bytes, source_format: str, platform: str, *, own_vjp: bool = False
) -> Traceable:
    """Returns the program in a source of any format but pickle, as a function.

    With ``own_vjp`` an artifact's own reverse derivative is used, if it has one; such a function
    has no forward mode.

    Its arguments are those that were exported with jax.export, keyword arguments last, or one array
    for each input.  A program with dynamic sizes is refined and imported when it is traced.

    Raises:
        Invalid: The source is no program, or not one that jaxfs runs.
    """
    found = read_module(context, source, source_format, platform)
    has_vjp = own_vjp and source_format == "jax_export"

    def vjp_of(types: Types = None) -> ParsedSource | None:
        return jax_export.read_vjp(context, source, platform, types) if has_vjp else None

    if isinstance(found, UntypedProgram):
        return _dynamic(context, source, platform, found, vjp_of)
    params = found.signature.inputs
    names = [param.name or f"arg{i}" for i, param in enumerate(params)]
    trees = _pytrees(source, source_format, names)
    structs = [as_struct(param.aval) for param in params]
    return Traceable(
        _of_pytrees(_checked(found, names, vjp_of()), trees),
        trees.names,
        source_format,
        args=tuple(tree_util.tree_map(structs.__getitem__, arg) for arg in trees.args),
        platforms=found.platforms,
    )


def _dynamic(
    context: ir.Context, source: bytes, platform: str, found: UntypedProgram, vjp_of: VjpReader
) -> Traceable:
    """Returns a function that reads the source again, with the types it is traced with."""

    def flat(*inputs: Any) -> NamedOutputs:
        types = [as_aval(one) for one in inputs]
        program = read_module(context, source, found.source_format, platform, types)
        if isinstance(program, UntypedProgram):  # never: there are types
            raise Invalid(program.reason)
        vjp = vjp_of([*types, *map(_cotangent, program.signature.output_avals)])
        return _run(program, inputs, vjp)

    trees = _pytrees(source, found.source_format, found.parameters)
    return Traceable(
        _of_pytrees(flat, trees),
        trees.names,
        found.source_format,
        tree=tree_util.tree_structure(trees.args),
        known=tuple(found.inputs[leaf] for leaf in tree_util.tree_leaves(trees.args)),
        reason=found.reason,
    )


def _cotangent(aval: Aval) -> Aval:
    """Returns the type of an output's cotangent."""
    return aval if jnp.issubdtype(aval.row.numpy, jnp.inexact) else Aval("bool", aval.shape)


def _checked(program: ParsedSource, names: Sequence[str], vjp: ParsedSource | None) -> Flat:
    """Returns the function, which refuses other types than its own: a batch may change them."""

    def flat(*inputs: Any) -> NamedOutputs:
        for name, aval, one in zip(names, program.signature.input_avals, inputs, strict=True):
            if (found := as_aval(one)) != aval:
                raise Invalid(
                    f"the program takes {name} as {aval}; with these inputs and axes it would get "
                    f"{found}"
                )
        return _run(program, inputs, vjp)

    return flat


def _run(program: ParsedSource, inputs: Sequence[Any], vjp: ParsedSource | None) -> NamedOutputs:
    """Returns the program's outputs, with the names of its signature.

    The shardings of the program are removed: a transformation path has its own.
    """
    function: Arrays = _imported(program)
    if vjp is not None:
        function = _with_vjp(function, _imported(vjp))
    outputs = function(*inputs)
    params = program.signature.outputs
    unnamed = ["result"] if len(params) == 1 else [f"result.{i}" for i in range(len(params))]
    return NamedOutputs([p.name or name for p, name in zip(params, unnamed, strict=True)], outputs)


def _imported(program: ParsedSource) -> ImportedFunction:
    with program.module.context:
        make_whole(program.module)
    found: ImportedFunction = import_module(program.module)
    return found


def _with_vjp(function: Arrays, vjp: Arrays) -> Arrays:
    """Returns the function with a reverse derivative of its inputs and its outputs' cotangents."""
    call = jax.custom_vjp(function)

    def forward(*inputs: Any) -> tuple[Any, Any]:
        return function(*inputs), inputs

    def backward(inputs: Any, cotangents: Any) -> tuple[Any, ...]:
        found = vjp(*inputs, *map(_taken, cotangents))
        return tuple(
            ct if jnp.issubdtype(x.dtype, jnp.inexact) else np.zeros(x.shape, dtypes.float0)
            for x, ct in zip(inputs, found, strict=True)
        )

    call.defvjp(forward, backward)
    found: Arrays = call
    return found


def _taken(cotangent: Any) -> Any:
    """Returns a cotangent as a module takes it; that of an integer is a boolean there."""
    is_none = cotangent.dtype == dtypes.float0
    return jnp.zeros(cotangent.shape, jnp.bool_) if is_none else cotangent


def _pytrees(source: bytes, source_format: str, names: Sequence[str]) -> _Pytrees:
    """Returns the pytrees of an exported function; flat ones for other formats."""
    if source_format != "jax_export":
        return _Pytrees(tuple(range(len(names))), tuple(names))
    found = exported_file.read_structure(source)
    args = (*found.args, *found.kwargs.values())
    roots = [_root(arg, i, names) for i, arg in enumerate(found.args)]
    return _Pytrees(args, (*roots, *found.kwargs), found.result)


def _root(arg: Any, index: int, names: Sequence[str]) -> str:
    """Returns an argument's name: that of its only input, or the first key of its inputs."""
    leaves = tree_util.tree_leaves(arg)
    if not leaves:
        return f"arg{index}"
    is_leaf = tree_util.treedef_is_leaf(tree_util.tree_structure(arg))
    return names[leaves[0]] if is_leaf else names[leaves[0]].partition(".")[0]


def _of_pytrees(function: Flat, trees: _Pytrees) -> Callable[..., Any]:
    """Returns the function of pytrees for a function of their leaves."""

    def call(*args: Any) -> Any:
        outputs = function(*tree_util.tree_leaves(args))
        if trees.result is None:
            return outputs
        return tree_util.tree_map(outputs.values.__getitem__, trees.result)

    return call
