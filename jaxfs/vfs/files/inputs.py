"""``inputs/`` of a program: what its calls take without naming it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from jaxfs.arrays.bindings import Binding, bind, bindings
from jaxfs.arrays.named import NamedArray
from jaxfs.posix.credentials import Credentials, InodeAttr
from jaxfs.programs import names
from jaxfs.programs.program import Program
from jaxfs.vfs.files.arrays import array_facts, array_size, open_array
from jaxfs.vfs.files.program import HERE
from jaxfs.vfs.mount import Mount
from jaxfs.vfs.node_specs import DirectorySpec, DirEntry, FileSpec, NodeSpec, SymlinkSpec
from jaxfs.vfs.open_files.base import OpenFile

INPUTS = f"{HERE}/inputs"
LINK = f"{INPUTS}/<link>"
OWN = f"{INPUTS}/<array>"


def _list(system: Mount, program: Program) -> Iterable[DirEntry]:
    return [_entry(binding) for binding in bindings(program).values()]


def _entry(binding: Binding) -> DirEntry:
    return DirEntry(binding.key, OWN if binding.array is not None else LINK, binding)


def _symlink(system: Mount, program: Program, key: str, target: str, meta: InodeAttr) -> DirEntry:
    entry = _bind(Binding(program, key, meta, target=target))
    system.remember(program)
    return entry


def _create(system: Mount, program: Program, key: str, meta: InodeAttr) -> DirEntry:
    array = NamedArray(key, meta, place=f"{program.path}/inputs")
    return _bind(Binding(program, key, meta, array=array))


def _bind(binding: Binding) -> DirEntry:
    names.check(binding.key)
    bind(binding)
    return _entry(binding)


def _unlink(system: Mount, entry: DirEntry) -> None:
    binding: Binding = entry.subject
    del binding.program.inputs[binding.key]
    binding.drop()
    system.remember(binding.program)


def _target(system: Mount, binding: Binding) -> str:
    return binding.target


def _array(binding: Binding) -> NamedArray:
    assert binding.array is not None  # rows of links have no file
    return binding.array


async def _open(system: Mount, binding: Binding, caller: Credentials, flags: int) -> OpenFile:
    return await open_array(system, _array(binding), caller, flags)


def _size(system: Mount, binding: Binding) -> int:
    return array_size(system, _array(binding))


def _facts(system: Mount, binding: Binding) -> Mapping[str, str]:
    return array_facts(system, _array(binding))


ROWS: tuple[NodeSpec, ...] = (
    DirectorySpec(
        INPUTS,
        0o755,
        "inputs that calls need not bring: ln -s ../../../arrays/w <number or name>, or copy an "
        "array here; rm unbinds",
        entries=_list,
        create=_create,
        symlink=_symlink,
        unlink=_unlink,
    ),
    SymlinkSpec(LINK, "a bound input: what it leads to, at each call", _target),
    FileSpec(
        OWN,
        0o644,
        "npy",
        "a bound input: an array of its own",
        open=_open,
        size=_size,
        xattrs=_facts,
    ),
)
