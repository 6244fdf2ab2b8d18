"""Reads the flatbuffer of a jax.export artifact, which has a StableHLO portable artifact in it.

The schema is jax/_src/export/serialization.fbs.  ``jax.export.deserialize`` would read it too, but
builds pytrees and so fails for every type that the reading process has not registered; only their
key paths are needed here.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from jaxfs.compiler.sources.detect import BYTECODE_MAGIC
from jaxfs.errors import Invalid, JaxfsError
from jaxfs.jaxcompat import export
from jaxfs.stablehlo.module.mlir_types import why_not_shape
from jaxfs.types.avals import BY_SHORT
from jaxfs.types.partial_avals import PartialAval

MAX_SIZE = 200  # characters of one symbolic size
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


def read_structure(data: bytes) -> Structure:
    """Returns the pytrees of the exported function.

    Raises:
        Invalid: They are damaged; no bytes raise anything else.
    """
    with damage_is_invalid():
        table = export.read_exported(data)
        args, kwargs = _filled(table.InTree(), itertools.count())
        return Structure(tuple(args), dict(kwargs), _filled(table.OutTree(), itertools.count()))


def read(data: bytes) -> Exported:
    """Returns the content of the flatbuffer.

    Raises:
        Invalid: It is damaged; no bytes raise anything else.
    """
    with damage_is_invalid():
        return read_table(export.read_exported(data))


@contextmanager
def damage_is_invalid() -> Iterator[None]:
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


def read_table(table: Any) -> Exported:
    """Returns the content of a flatbuffer's table: that of the artifact, or of its VJP in it.

    Raises:
        Invalid: It is nothing that can be read here.
    """
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
