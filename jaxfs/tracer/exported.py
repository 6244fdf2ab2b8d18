"""jax.export artifacts.

The flatbuffer is read here rather than by ``jax.export.deserialize``: that builds pytrees and so
fails for every type the reading process has not registered, and only their key paths are needed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import msgspec
from jaxlib.mlir import ir

from jaxfs import jaxcompat
from jaxfs.codecs.avals import BY_SHORT, Aval
from jaxfs.errors import Invalid, JaxfsError
from jaxfs.stablehlo.branches import fold_constant_cases
from jaxfs.stablehlo.checks import check_module
from jaxfs.stablehlo.main_function import (
    argument_attributes,
    fix_argument,
    read_signature,
    rearrange_arguments,
)
from jaxfs.stablehlo.names import dotted, result_name, unique
from jaxfs.stablehlo.normal_form import drop_placement
from jaxfs.stablehlo.parse import parse_bytecode, verify
from jaxfs.stablehlo.signature import Param, Signature
from jaxfs.stablehlo.types import why_not_shape
from jaxfs.stablehlo.walk import functions
from jaxfs.tracer.source import BYTECODE_MAGIC, Program

MAX_ENTRIES = 100_000  # of any list in the artifact's description
_PLATFORM_NAMES = {"gpu": ("cuda", "rocm")}  # a device says gpu, an export cuda
_DTYPES = {
    number: "u" + name[2:] if name.startswith("ui") else name
    for number, name in jaxcompat.EXPORTED_DTYPES.items()
}


class Exported(msgspec.Struct, frozen=True):
    """The parts of an artifact that matter here."""

    module: bytes
    platforms: tuple[str, ...]
    inputs: tuple[tuple[str, Aval], ...]  # with key paths, ``[0]['w']``
    outputs: tuple[tuple[str, Aval], ...]
    kept: tuple[int, ...]  # which inputs the module takes


def read_program(context: Any, data: bytes, platform: str) -> Program:
    """The program of an artifact, for one platform.  Raises Invalid."""
    exported = read(data)
    index = _platform_index(exported.platforms, platform)
    module = parse_bytecode(context, exported.module, "a jax.export artifact")
    with context:
        drop_placement(module)
        check_module(module)
        main = functions(module)["main"]
        if "jax.global_constant" in next(iter(argument_attributes(main)), {}):
            fix_argument(main, 0, index)
            fold_constant_cases(module)
            main = functions(module)["main"]
        signature = _signature(exported, read_signature(main))
        if len(exported.kept) != len(exported.inputs):
            types = [_tensor(aval) for _, aval in exported.inputs]
            rearrange_arguments(main, types, exported.kept)
        verify(context, module)
    return Program(module, signature, "jax_export", exported.platforms)


def read(data: bytes) -> Exported:
    """Read the flatbuffer.  Raises Invalid, whatever the bytes are."""
    try:
        return _read(jaxcompat.read_exported(data))
    except JaxfsError:
        raise
    except Exception as error:  # flatbuffers checks nothing: any garbage, any exception
        raise Invalid(
            "not a program: binary data, neither MLIR bytecode nor a whole jax.export artifact",
            repr(error),
        ) from None


def _read(table: Any) -> Exported:
    module = table.MlirModuleSerializedAsNumpy().tobytes()
    if not module.startswith(BYTECODE_MAGIC):
        raise Invalid("not a program: binary data without a StableHLO module in it")
    _check_kind(table)
    kept = tuple(int(n) for n in table.ModuleKeptVarIdxAsNumpy()) if _inputs(table) else ()
    return Exported(
        module,
        tuple(table.Platforms(i).decode() for i in _indices(table.PlatformsLength())),
        _named(table.InTree(), _inputs(table)),
        _named(table.OutTree(), _avals(table, "Out")),
        kept,
    )


def _check_kind(table: Any) -> None:
    devices = table.NrDevices() or table.NrDevicesShort()
    if devices != 1:
        raise Invalid(f"the program is for {devices} devices; export it for one")
    version, known = table.CallingConventionVersion(), jaxcompat.CALLING_CONVENTIONS
    if version not in known:
        raise Invalid(
            f"the program has calling convention {version}, this jax knows {known[0]} to "
            f"{known[-1]}; export it with another version of jax"
        )
    if table.OrderedEffectsLength():
        raise Invalid("the program has ordered effects (callbacks, prints); export it without")


def _inputs(table: Any) -> list[Aval]:
    return _avals(table, "In")


def _avals(table: Any, side: str) -> list[Aval]:
    """Newer artifacts keep each aval once and list numbers, older ones list the avals."""
    numbers = f"{side}AvalsIdxs"
    if hasattr(table, numbers) and (count := getattr(table, f"{numbers}Length")()):
        return [_aval(table.UniqueAvals(getattr(table, numbers)(i))) for i in _indices(count)]
    count = getattr(table, f"{side}AvalsLength")()
    return [_aval(getattr(table, f"{side}Avals")(i)) for i in _indices(count)]


def _aval(entry: Any) -> Aval:
    dtype = _DTYPES.get(entry.Dtype(), "unknown")
    if dtype not in BY_SHORT:
        raise Invalid(f"an input or output has the element type {dtype}, which is not supported")
    sizes = [entry.Shape(i).decode() for i in _indices(entry.ShapeLength())]
    if not all(size.isdecimal() for size in sizes):
        shape = ",".join(sizes)
        raise Invalid(
            f"an input or output is {dtype}[{shape}]: symbolic shapes are not supported yet; "
            "export with fixed sizes"
        )
    aval = Aval(dtype, tuple(map(int, sizes)))
    if why := why_not_shape(aval.shape):
        raise Invalid(f"an input or output is {aval}: {why}")
    return aval


def _indices(length: int) -> range:
    """The indices of a vector; a damaged artifact may claim any length."""
    if length > MAX_ENTRIES:
        raise Invalid(f"not a program: its description has a list of {length} entries")
    return range(length)


def _named(tree: Any, avals: list[Aval]) -> tuple[tuple[str, Aval], ...]:
    """Each aval with its leaf's key path.  Nodes may be shared: a small tree can be endless."""
    nodes = list(itertools.islice(_nodes(tree, ""), MAX_ENTRIES + 1))
    paths = [path for path in nodes[: _indices(len(nodes)).stop] if path is not None]
    return tuple(zip(paths, avals, strict=True))


def _nodes(tree: Any, path: str) -> Iterator[str | None]:
    """For each node of a pytree its key path if it is a leaf, else None."""
    kind = jaxcompat.PYTREE_KINDS[tree.Kind()]
    yield path if kind == "leaf" else None
    for i in _indices(tree.ChildrenLength()):
        key = f"['{tree.ChildrenNames(i).decode()}']" if kind == "dict" else f"[{i}]"
        yield from _nodes(tree.Children(i), path + key)


def _platform_index(platforms: tuple[str, ...], platform: str) -> int:
    for name in _PLATFORM_NAMES.get(platform, (platform,)):
        if name in platforms:
            return platforms.index(name)
    raise Invalid(
        f"the program was exported for {' and '.join(platforms)}, the device is {platform}; "
        f"export it with platforms=[{platform!r}] too"
    )


def _tensor(aval: Aval) -> Any:
    return ir.Type.parse(f"tensor<{''.join(f'{n}x' for n in aval.shape)}{aval.row.mlir}>")


def _signature(exported: Exported, module: Signature) -> Signature:
    """All inputs, with the names the module has and the key paths of those it dropped."""
    wanted = [exported.inputs[i][1] for i in _kept(exported)]
    if wanted != list(module.input_avals):
        raise Invalid("not a program: its module and its list of inputs do not agree")
    taken = dict(zip(exported.kept, module.inputs, strict=True))
    roots = _roots(exported, taken)
    params = [
        taken.get(i) or Param(_input_name(path, roots), aval)
        for i, (path, aval) in enumerate(exported.inputs)
    ]
    names = unique(
        param.name or _input_name(path, roots)
        for param, (path, _) in zip(params, exported.inputs, strict=True)
    )
    inputs = [Param(n, p.aval, p.donated) for n, p in zip(names, params, strict=True)]
    return Signature(tuple(inputs), _outputs(exported, module))


def _kept(exported: Exported) -> tuple[int, ...]:
    """Which inputs the module takes, each at most once, in order."""
    kept, count = exported.kept, len(exported.inputs)
    is_ordered = all(a < b for a, b in itertools.pairwise(kept))
    if not is_ordered or (kept and kept[-1] >= count):
        raise Invalid(f"not a program: its module takes inputs {list(kept)[:20]} of {count}")
    return kept


def _outputs(exported: Exported, module: Signature) -> tuple[Param, ...]:
    names = unique(result_name(f"result{path}") for path, _ in exported.outputs)
    if [aval for _, aval in exported.outputs] != list(module.output_avals):
        raise Invalid("not a program: its module and its list of outputs do not agree")
    return tuple(Param(n, p.aval) for n, p in zip(names, module.outputs, strict=True))


def _roots(exported: Exported, taken: dict[int, Param]) -> dict[str, str]:
    """The names of the positional arguments (``0`` -> ``params``), as far as kept inputs tell."""
    found = {}
    for i, param in taken.items():
        keys = dotted(exported.inputs[i][0]).split(".")
        if keys[0] == "0" and param.name:
            found[keys[1]] = param.name.split(".")[0]
    return found


def _input_name(path: str, roots: dict[str, str]) -> str:
    """``p.w`` for ``0.0.w``: the tree is ``((arguments...), {keywords})``."""
    side, *keys = dotted(path).split(".")
    if not keys or side != "0":
        return ".".join(keys)
    return ".".join([roots.get(keys[0], f"arg{keys[0]}"), *keys[1:]])
