"""StableHLO programs as Python functions, for transformations to be done to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from jax import tree_util

from jaxfs.compiler.job_protocol import UntypedProgram
from jaxfs.compiler.sources import jax_export
from jaxfs.compiler.sources.detect import ParsedSource
from jaxfs.compiler.sources.stablehlo import read_module
from jaxfs.compiler.traceable import Traceable, as_aval, as_struct
from jaxfs.compiler.transforms.named_outputs import NamedOutputs
from jaxfs.errors import Invalid
from jaxfs.stablehlo import import_module
from jaxfs.stablehlo.module.canonicalize import make_whole
from jaxfs.types.avals import Aval

Flat = Callable[..., NamedOutputs]


class _Arguments(msgspec.Struct, frozen=True):
    """What the function takes and gives; leaves are the numbers of inputs and of outputs.

    ``result`` is None where it is a flat list with the names of the signature.
    """

    args: tuple[Any, ...]
    names: tuple[str, ...]
    result: Any = None


def import_program(context: Any, source: bytes, kind: str, platform: str) -> Traceable:
    """The program in a source that is no pickle.

    It takes what was exported with jax.export, or one array for each input; keywords come last.
    Programs with dynamic sizes are fixed and imported when they are traced.
    """
    found = read_module(context, source, kind, platform)
    if isinstance(found, UntypedProgram):
        return _dynamic(context, source, platform, found)
    params = found.signature.inputs
    names = [param.name or f"arg{i}" for i, param in enumerate(params)]
    shape = _arguments(source, kind, names)
    structs = [as_struct(param.aval) for param in params]
    return Traceable(
        _nested(_checking(found, names), shape),
        shape.names,
        kind,
        args=tuple(tree_util.tree_map(structs.__getitem__, arg) for arg in shape.args),
        platforms=found.platforms,
    )


def _dynamic(context: Any, source: bytes, platform: str, found: UntypedProgram) -> Traceable:
    def flat(*inputs: Any) -> NamedOutputs:
        types = [as_aval(one) for one in inputs]
        program = read_module(context, source, found.source_format, platform, types)
        if isinstance(program, UntypedProgram):  # it has the types
            raise Invalid(program.reason)
        return _run(program, inputs)

    shape = _arguments(source, found.source_format, found.parameters)
    return Traceable(
        _nested(flat, shape),
        shape.names,
        found.source_format,
        tree=tree_util.tree_structure(shape.args),
        known=tuple(found.inputs[leaf] for leaf in tree_util.tree_leaves(shape.args)),
        reason=found.reason,
    )


def _checking(program: ParsedSource, names: Sequence[str]) -> Flat:
    """The program, refusing other types than its own: a batch may have brought any."""
    wanted = program.signature.input_avals

    def check(*inputs: Any) -> NamedOutputs:
        for name, aval, one in zip(names, wanted, inputs, strict=True):
            if (found := as_aval(one)) != aval:
                raise Invalid(_refusal(name, aval, found))
        return _run(program, inputs)

    return check


def _run(program: ParsedSource, inputs: Sequence[Any]) -> NamedOutputs:
    """The program's outputs, with the names of its signature.

    What is spread over devices becomes whole: a path says anew how it is spread.
    """
    with program.module.context:
        make_whole(program.module)
    outputs = import_module(program.module)(*inputs)
    params = program.signature.outputs
    unnamed = ["result"] if len(params) == 1 else [f"result.{i}" for i in range(len(params))]
    return NamedOutputs([p.name or name for p, name in zip(params, unnamed, strict=True)], outputs)


def _refusal(name: str, wanted: Aval, found: Aval) -> str:
    return f"the program takes {name} as {wanted}; with these inputs and axes it would get {found}"


def _arguments(source: bytes, kind: str, names: Sequence[str]) -> _Arguments:
    if kind != "jax_export":
        return _Arguments(tuple(range(len(names))), tuple(names))
    shape = jax_export.read_structure(source)
    args = (*shape.args, *shape.kwargs.values())
    keywords = list(shape.kwargs)
    roots = [_root(arg, i, names) for i, arg in enumerate(shape.args)]
    return _Arguments(args, (*roots, *keywords), shape.result)


def _root(arg: Any, index: int, names: Sequence[str]) -> str:
    """An argument's name: its only input's, or what the names of its inputs begin with."""
    leaves = tree_util.tree_leaves(arg)
    if not leaves:
        return f"arg{index}"
    is_leaf = tree_util.treedef_is_leaf(tree_util.tree_structure(arg))
    return names[leaves[0]] if is_leaf else names[leaves[0]].partition(".")[0]


def _nested(function: Flat, shape: _Arguments) -> Callable[..., Any]:
    """A function of pytrees from one of their leaves."""

    def call(*args: Any) -> Any:
        outputs = function(*tree_util.tree_leaves(args))
        if shape.result is None:
            return outputs
        return tree_util.tree_map(outputs.values.__getitem__, shape.result)

    return call
