"""``inputs/`` of a program: what its calls take without naming it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from jaxfs.arrays.bindings import Binding, bind, bindings
from jaxfs.arrays.named import Array
from jaxfs.posix.credentials import Caller, Meta
from jaxfs.programs import names
from jaxfs.programs.program import Program
from jaxfs.vfs.files.arrays import array_facts, array_size, open_array
from jaxfs.vfs.files.program import HERE
from jaxfs.vfs.mount import System
from jaxfs.vfs.node_specs import Directory, Entry, File, Row, Symlink
from jaxfs.vfs.open_files.base import Handle

INPUTS = f"{HERE}/inputs"
LINK = f"{INPUTS}/<link>"
OWN = f"{INPUTS}/<array>"


def _list(system: System, program: Program) -> Iterable[Entry]:
    return [_entry(binding) for binding in bindings(program).values()]


def _entry(binding: Binding) -> Entry:
    return Entry(binding.key, OWN if binding.array is not None else LINK, binding)


def _symlink(system: System, program: Program, key: str, target: str, meta: Meta) -> Entry:
    entry = _bind(Binding(program, key, meta, target=target))
    system.remember(program)
    return entry


def _create(system: System, program: Program, key: str, meta: Meta) -> Entry:
    array = Array(key, meta, place=f"{program.path}/inputs")
    return _bind(Binding(program, key, meta, array=array))


def _bind(binding: Binding) -> Entry:
    names.check(binding.key)
    bind(binding)
    return _entry(binding)


def _unlink(system: System, entry: Entry) -> None:
    binding: Binding = entry.subject
    del binding.program.inputs[binding.key]
    binding.drop()
    system.remember(binding.program)


def _target(system: System, binding: Binding) -> str:
    return binding.target


def _array(binding: Binding) -> Array:
    assert binding.array is not None  # rows of links have no file
    return binding.array


async def _open(system: System, binding: Binding, caller: Caller, flags: int) -> Handle:
    return await open_array(system, _array(binding), caller, flags)


def _size(system: System, binding: Binding) -> int:
    return array_size(system, _array(binding))


def _facts(system: System, binding: Binding) -> Mapping[str, str]:
    return array_facts(system, _array(binding))


ROWS: tuple[Row, ...] = (
    Directory(
        INPUTS,
        0o755,
        "inputs that calls need not bring: ln -s ../../../arrays/w <number or name>, or copy an "
        "array here; rm unbinds",
        entries=_list,
        create=_create,
        symlink=_symlink,
        unlink=_unlink,
    ),
    Symlink(LINK, "a bound input: what it leads to, at each call", _target),
    File(
        OWN,
        0o644,
        "npy",
        "a bound input: an array of its own",
        open=_open,
        size=_size,
        facts=_facts,
    ),
)
