"""Programs from jax.export artifacts."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import msgspec
from jaxlib.mlir import ir

from jaxfs.compiler.job_protocol import UntypedProgram
from jaxfs.compiler.sources.detect import ParsedSource, Types
from jaxfs.compiler.sources.dynamic_shapes import refine, untyped_program
from jaxfs.compiler.sources.exported_file import (
    Exported,
    damage_is_invalid,
    read,
    read_table,
)
from jaxfs.errors import Invalid
from jaxfs.jaxcompat import export
from jaxfs.stablehlo.module.argument_names import dotted, result_name, unique
from jaxfs.stablehlo.module.canonicalize import settle_placement
from jaxfs.stablehlo.module.entry_function import (
    argument_attributes,
    find_main,
    fix_argument,
    read_names,
    read_signature,
    rearrange_arguments,
)
from jaxfs.stablehlo.module.exporter_forms import read_exporter_forms
from jaxfs.stablehlo.module.fold_cases import fold_constant_cases
from jaxfs.stablehlo.module.mlir_types import tensor_type
from jaxfs.stablehlo.module.parse import parse_bytecode, verify
from jaxfs.stablehlo.module.partitions import partition_count
from jaxfs.stablehlo.module.walk import functions
from jaxfs.stablehlo.validate.module import check_module
from jaxfs.types.avals import Aval
from jaxfs.types.compile_target import matching_name
from jaxfs.types.partial_avals import as_partial, check_types
from jaxfs.types.signature import Param, Signature

_INNER = "_wrapped_jax_export_main"  # the function that ``main`` calls if sizes are symbolic


def read_program(
    context: ir.Context, data: bytes, platform: str, types: Types = None
) -> ParsedSource | UntypedProgram:
    """Returns the program of an artifact; see ``stablehlo.read_module``."""
    return _program(context, read(data), platform, types)


def read_vjp(
    context: ir.Context, data: bytes, platform: str, types: Types = None
) -> ParsedSource | None:
    """Returns the reverse derivative that an artifact was serialized with, None if it has none.

    Its inputs are those of the program and the cotangents of its outputs, and its outputs the
    cotangents of the inputs.  Integers have cotangents of booleans, without a meaning.

    Args:
        context: An MLIR context.
        data: The artifact.
        platform: Where the program is to run.
        types: The types of the program's inputs and outputs, if it has symbolic sizes.
    """
    with damage_is_invalid():
        table = export.read_exported(data).Vjp()
        exported = None if table is None else read_table(table)
    if exported is None:
        return None
    found = _program(context, exported, platform, types if exported.is_symbolic else None)
    return found if isinstance(found, ParsedSource) else None


def _program(
    context: ir.Context, exported: Exported, platform: str, types: Types
) -> ParsedSource | UntypedProgram:
    index = _platform_index(exported.platforms, platform)
    module = parse_bytecode(context, exported.module, "a jax.export artifact")
    with context:
        read_exporter_forms(module)
        settle_placement(module)
        _check_devices(exported, module)
        if not exported.is_symbolic:
            check_module(module)
        _choose_platform(module, find_main(module), index)
        labels = _labels(module, exported)
        if exported.is_symbolic:
            names = _input_names(exported, labels)
            partials = [partial for _, partial in exported.inputs]
            if types is None:
                return untyped_program("jax_export", names, partials)
            check_types(names, partials, types)
            module = refine(module, [types[i] for i in _kept(exported)])
            exported = _fixed(exported, types, read_signature(find_main(module)).output_avals)
            check_module(module)
        main = functions(module)["main"]
        signature = _signature(exported, read_signature(main), labels)
        if len(exported.kept) != len(exported.inputs):
            rearrange_arguments(
                main, [tensor_type(a) for a in signature.input_avals], exported.kept
            )
        verify(context, module)
    return ParsedSource(module, signature, "jax_export", exported.platforms)


def _check_devices(exported: Exported, module: Any) -> None:
    """Checks that the module is for as many devices as the artifact.

    A program that was exported for one device may have an abstract mesh.

    Raises:
        Invalid: The numbers differ.
    """
    if exported.devices not in (1, found := partition_count(module)):
        raise Invalid(f"the program is for {exported.devices} devices, its module for {found}")


def _choose_platform(module: Any, main: Any, index: int) -> None:
    """Fixes the argument with the platform's index that programs for several platforms have."""
    if "jax.global_constant" in next(iter(argument_attributes(main)), {}):
        fix_argument(main, 0, index)
        fold_constant_cases(module)


def _labels(module: Any, exported: Exported) -> dict[int, str]:
    """Returns the module's names for the inputs that it takes, by their positions.

    With symbolic sizes they are those of the function that ``main`` calls, after the sizes.
    """
    found = functions(module)
    names = read_names(found.get(_INNER, found["main"]))
    kept = _kept(exported)
    return dict(zip(kept, names[len(names) - len(kept) :], strict=True))


def _fixed(exported: Exported, types: Sequence[Aval], outputs: Sequence[Aval]) -> Exported:
    """Returns the same description with the sizes of a call."""
    return msgspec.structs.replace(
        exported,
        inputs=tuple((p, as_partial(t)) for (p, _), t in zip(exported.inputs, types, strict=True)),
        outputs=tuple(
            (p, as_partial(t)) for (p, _), t in zip(exported.outputs, outputs, strict=True)
        ),
    )


def _platform_index(platforms: tuple[str, ...], platform: str) -> int:
    """Returns the position of ``platform`` in those of the artifact.

    Raises:
        Invalid: The program was exported for other platforms.
    """
    name = matching_name(platform, platforms)
    if name is not None:
        return platforms.index(name)
    raise Invalid(
        f"the program was exported for {' and '.join(platforms)}, the device is {platform}; "
        f"export it with platforms=[{platform!r}] too"
    )


def _signature(exported: Exported, module: Signature, labels: dict[int, str]) -> Signature:
    """Returns the signature with all inputs, also those that the module does not take."""
    avals = [partial.aval for _, partial in exported.inputs]
    if [avals[i] for i in _kept(exported)] != list(module.input_avals):
        raise Invalid("not a program: its module and its list of inputs do not agree")
    taken = dict(zip(exported.kept, module.inputs, strict=True))
    inputs = [
        Param(name, aval, i in taken and taken[i].donated)
        for i, (name, aval) in enumerate(zip(_input_names(exported, labels), avals, strict=True))
        if aval is not None
    ]
    names = unique(result_name(f"result{path}") for path, _ in exported.outputs)
    if [partial.aval for _, partial in exported.outputs] != list(module.output_avals):
        raise Invalid("not a program: its module and its list of outputs do not agree")
    outputs = [Param(n, p.aval) for n, p in zip(names, module.outputs, strict=True)]
    return Signature(tuple(inputs), tuple(outputs))


def _input_names(exported: Exported, labels: dict[int, str]) -> list[str]:
    """Returns a name for each input: the module's, or its key path if the module has none."""
    roots = _roots(exported, labels)
    paths = [path for path, _ in exported.inputs]
    return unique(labels.get(i) or _input_name(path, roots) for i, path in enumerate(paths))


def _kept(exported: Exported) -> tuple[int, ...]:
    """Returns the inputs that the module takes.

    Raises:
        Invalid: They are not in order, or are not among the artifact's inputs.
    """
    kept, count = exported.kept, len(exported.inputs)
    is_ordered = all(a < b for a, b in itertools.pairwise(kept))
    if not is_ordered or (kept and kept[-1] >= count):
        raise Invalid(f"not a program: its module takes inputs {list(kept)[:20]} of {count}")
    return kept


def _roots(exported: Exported, labels: dict[int, str]) -> dict[str, str]:
    """Returns the names of positional arguments (``0`` -> ``params``), from those of inputs."""
    found = {}
    for i, name in labels.items():
        keys = dotted(exported.inputs[i][0]).split(".")
        if keys[0] == "0" and name:
            found[keys[1]] = name.split(".")[0]
    return found


def _input_name(path: str, roots: dict[str, str]) -> str:
    """Returns ``p.w`` for ``0.0.w``: the tree is ``((arguments...), {keywords})``."""
    side, *keys = dotted(path).split(".")
    if not keys or side != "0":
        return ".".join(keys)
    return ".".join([roots.get(keys[0], f"arg{keys[0]}"), *keys[1:]])
