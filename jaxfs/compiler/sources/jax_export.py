"""Parses jax.export artifacts: a flatbuffer with a StableHLO portable artifact in it.

The schema is jax/_src/export/serialization.fbs.  ``jax.export.deserialize`` would read it too, but
builds pytrees and so fails for every type that the reading process has not registered; only their
key paths are needed here.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from jaxlib.mlir import ir

from jaxfs.compiler.job_protocol import UntypedProgram
from jaxfs.compiler.sources.detect import BYTECODE_MAGIC, ParsedSource, Types
from jaxfs.compiler.sources.dynamic_shapes import refine, untyped_program
from jaxfs.errors import Invalid, JaxfsError
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
from jaxfs.stablehlo.module.mlir_types import tensor_type, why_not_shape
from jaxfs.stablehlo.module.parse import parse_bytecode, verify
from jaxfs.stablehlo.module.partitions import partition_count
from jaxfs.stablehlo.module.walk import functions
from jaxfs.stablehlo.validate.module import check_module
from jaxfs.types.avals import BY_SHORT, Aval
from jaxfs.types.compile_target import matching_name
from jaxfs.types.partial_avals import PartialAval, as_partial, check_types
from jaxfs.types.signature import Param, Signature

MAX_SIZE = 200  # characters of one symbolic size
_INNER = "_wrapped_jax_export_main"  # the function that ``main`` calls if sizes are symbolic
MAX_ENTRIES = 100_000  # of any vector in the flatbuffer
_KEYS = {"key_fry": 2, "key_rbg": 4, "key_unsafe_rbg": 4}  # how many u32 a random key has
_DTYPES = {
    number: "bool" if name == "f0" else "u" + name[2:] if name.startswith("ui") else name
    for number, name in export.EXPORTED_DTYPES.items()
}


class Exported(msgspec.Struct, frozen=True):
    """The fields of ``jax.export.Exported`` that matter here.

    Attributes:
        module: MLIR bytecode.
        platforms: The platforms it was exported for.
        inputs: The key path (``[0]['w']``) and the type of each leaf of the arguments.
        outputs: The same for the result.
        kept: The inputs that the module takes, by their positions.
        devices: How many devices it runs on.
    """

    module: bytes
    platforms: tuple[str, ...]
    inputs: tuple[tuple[str, PartialAval], ...]
    outputs: tuple[tuple[str, PartialAval], ...]
    kept: tuple[int, ...]
    devices: int

    @property
    def is_symbolic(self) -> bool:
        """Whether a size is symbolic."""
        return any(partial.aval is None for _, partial in (*self.inputs, *self.outputs))


class Structure(msgspec.Struct, frozen=True):
    """The pytrees of a function; their leaves are the positions of the inputs and outputs.

    Attributes:
        args: The positional arguments.
        kwargs: The keyword arguments.
        result: The result.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any


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
    with _damage_is_invalid():
        table = export.read_exported(data).Vjp()
        exported = None if table is None else _read(table)
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


def read_structure(data: bytes) -> Structure:
    """Returns the pytrees of the exported function.

    Raises:
        Invalid: They are damaged; no bytes raise anything else.
    """
    with _damage_is_invalid():
        table = export.read_exported(data)
        args, kwargs = _filled(table.InTree(), itertools.count())
        return Structure(tuple(args), dict(kwargs), _filled(table.OutTree(), itertools.count()))


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


def read(data: bytes) -> Exported:
    """Returns the content of the flatbuffer.

    Raises:
        Invalid: It is damaged; no bytes raise anything else.
    """
    with _damage_is_invalid():
        return _read(export.read_exported(data))


@contextmanager
def _damage_is_invalid() -> Iterator[None]:
    """Replaces any exception of the block by Invalid.

    The flatbuffers package does not validate its input.

    Raises:
        Invalid: The block raised something that is no JaxfsError.
    """
    try:
        yield
    except JaxfsError:
        raise
    except Exception as error:
        raise Invalid(
            "not a program: binary data, neither MLIR bytecode nor a whole jax.export artifact",
            repr(error),
        ) from None


def _read(table: Any) -> Exported:
    module = table.MlirModuleSerializedAsNumpy().tobytes()
    if not module.startswith(BYTECODE_MAGIC):
        raise Invalid("not a program: binary data without a StableHLO module in it")
    _check_kind(table)
    inputs = _avals(table, "In")
    return Exported(
        module,
        tuple(table.Platforms(i).decode() for i in _indices(table.PlatformsLength())),
        _with_key_paths(table.InTree(), inputs),
        _with_key_paths(table.OutTree(), _avals(table, "Out")),
        tuple(int(n) for n in table.ModuleKeptVarIdxAsNumpy()) if inputs else (),
        table.NrDevices() or table.NrDevicesShort(),
    )


def _check_kind(table: Any) -> None:
    version, known = table.CallingConventionVersion(), export.CALLING_CONVENTIONS
    if version not in known:
        raise Invalid(
            f"the program has calling convention {version}, this jax knows {known[0]} to "
            f"{known[-1]}; export it with another version of jax"
        )
    if table.OrderedEffectsLength():
        raise Invalid("the program has ordered effects (callbacks, prints); export it without")


def _avals(table: Any, side: str) -> list[PartialAval]:
    """Returns the types of the inputs or outputs, ``side`` being ``In`` or ``Out``.

    Newer artifacts have each aval once and a vector of indices, older ones a vector of avals.
    """
    numbers = f"{side}AvalsIdxs"
    if hasattr(table, numbers) and (count := getattr(table, f"{numbers}Length")()):
        return [_aval(table.UniqueAvals(getattr(table, numbers)(i))) for i in _indices(count)]
    count = getattr(table, f"{side}AvalsLength")()
    return [_aval(getattr(table, f"{side}Avals")(i)) for i in _indices(count)]


def _aval(entry: Any) -> PartialAval:
    dtype = _DTYPES.get(entry.Dtype(), "unknown")
    words_of_key = _KEYS.get(dtype)  # in the module a key is its words
    if words_of_key is not None:
        dtype = "u32"
    if dtype not in BY_SHORT:
        raise Invalid(f"an input or output has the element type {dtype}, which is not supported")
    words = [entry.Shape(i).decode() for i in _indices(entry.ShapeLength())]
    sizes = [word.replace(" ", "")[:MAX_SIZE] for word in words]  # types in files have no spaces
    sizes.extend([] if words_of_key is None else [str(words_of_key)])
    partial = PartialAval(dtype, tuple(int(size) if size.isdecimal() else size for size in sizes))
    if why := why_not_shape(tuple(size for size in partial.sizes if isinstance(size, int))):
        raise Invalid(f"an input or output is {partial}: {why}")
    return partial


def _indices(length: int) -> range:
    """Returns the indices of a vector.

    Raises:
        Invalid: It has more than ``MAX_ENTRIES``; a damaged artifact may claim any length.
    """
    if length > MAX_ENTRIES:
        raise Invalid(f"not a program: its description has a list of {length} entries")
    return range(length)


def _with_key_paths(tree: Any, avals: list[PartialAval]) -> tuple[tuple[str, PartialAval], ...]:
    """Returns each aval with its leaf's key path.

    Flatbuffers may share nodes, so that a small one can be an endless tree.
    """
    nodes = list(itertools.islice(_nodes(tree, ""), MAX_ENTRIES + 1))
    paths = [path for path in nodes[: _indices(len(nodes)).stop] if path is not None]
    return tuple(zip(paths, avals, strict=True))


def _nodes(tree: Any, path: str) -> Iterator[str | None]:
    """Yields for each node of a pytree its key path if it is a leaf, else None."""
    kind = export.PYTREE_KINDS[tree.Kind()]
    yield path if kind == "leaf" else None
    for i in _indices(tree.ChildrenLength()):
        key = f"['{tree.ChildrenNames(i).decode()}']" if kind == "dict" else f"[{i}]"
        yield from _nodes(tree.Children(i), path + key)


def _filled(tree: Any, numbers: Iterator[int]) -> Any:
    """Returns a pytree of builtin types, the leaves of which are the next ``numbers``."""
    kind = export.PYTREE_KINDS[tree.Kind()]
    if kind in ("leaf", "none"):
        return next(numbers) if kind == "leaf" else None
    children = [_filled(tree.Children(i), numbers) for i in _indices(tree.ChildrenLength())]
    if kind == "dict":
        keys = [tree.ChildrenNames(i).decode() for i in range(len(children))]
        return dict(zip(keys, children, strict=True))
    return children if kind == "list" else tuple(children)


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
