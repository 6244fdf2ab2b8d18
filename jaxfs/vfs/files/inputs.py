"""``inputs/`` of a program: what its calls take without naming it."""

from __future__ import annotations

from collections.abc import Iterable

from jaxfs.arrays.bindings import Binding, bind, bindings
from jaxfs.arrays.named_array import NamedArray
from jaxfs.errors import JaxfsError, NameTaken
from jaxfs.posix.credentials import Credentials, InodeAttr
from jaxfs.programs import names
from jaxfs.programs.program import Program
from jaxfs.quotas import ARRAYS
from jaxfs.vfs.files.arrays import array_size, array_xattrs, open_array
from jaxfs.vfs.files.program import PROGRAM
from jaxfs.vfs.mount import Mount
from jaxfs.vfs.node_specs import DirectorySpec, DirEntry, FileSpec, NodeSpec, SymlinkSpec
from jaxfs.vfs.open_files.base import OpenFile

INPUTS = f"{PROGRAM.pattern}/inputs"


def _list(mount: Mount, program: Program) -> Iterable[DirEntry[Binding]]:
    return [_entry(binding) for binding in bindings(program)]


def _entry(binding: Binding) -> DirEntry[Binding]:
    spec = LINK if binding.array is None else ARRAY
    return spec.entry(binding.key, binding)


def _symlink(
    mount: Mount, program: Program, key: str, target: str, attr: InodeAttr
) -> DirEntry[Binding]:
    """Binds an input to an array of the mount, also after a remount."""
    charge = mount.quotas.charge(attr.uid, ARRAYS, 1)
    entry = _bind(Binding(program, key, target=target, charge=charge))
    try:
        mount.remember(program)
    except JaxfsError:
        program.inputs.pop(key).drop()
        raise
    return entry


def _create(mount: Mount, program: Program, key: str, attr: InodeAttr) -> DirEntry[Binding]:
    charge = mount.quotas.charge(attr.uid, ARRAYS, 1)
    array = NamedArray(key, attr, place=f"{program.path}/inputs")
    return _bind(Binding(program, key, array=array, charge=charge))


def _bind(binding: Binding) -> DirEntry[Binding]:
    """Adds a binding and returns its entry.

    Raises:
        Invalid: The key is no name.
        NameTaken: The program has a binding of this key.
    """
    try:
        names.check(binding.key)
    except JaxfsError:
        binding.drop()
        raise
    bind(binding)
    return _entry(binding)


def _unlink(mount: Mount, entry: DirEntry[Binding]) -> None:
    """Unbinds an input, also after a remount; an array of its own is freed.

    Later requests have to bring the input.
    """
    _unbind(mount, entry.node_object)


async def _rename(mount: Mount, program: Program, old: str, new: str, replace: bool) -> None:
    """Renames a binding, as ``ln -sf`` and writers of temporary files do.

    Raises:
        Invalid: The new name is no name.
        NameTaken: There is a binding of this name, and ``replace`` is off.
        JaxfsError: The record cannot be written; nothing has changed.
    """
    names.check(new)
    before = dict(program.inputs)
    if not replace and new in before:
        raise NameTaken(f"{program.path}/inputs/{new} is there already")
    if old == new:
        return
    binding = program.inputs.pop(old)
    assert isinstance(binding, Binding)
    replaced = program.inputs.pop(new, None)
    binding.key, program.inputs[new] = new, binding
    try:
        mount.remember(program)
    except JaxfsError:
        binding.key, program.inputs = old, before
        raise
    if binding.array is not None:
        binding.array.name = new
    if replaced is not None:
        replaced.drop()


def _discard(mount: Mount, binding: Binding) -> None:
    """Unbinds an input to which nothing was ever written: its writer was killed."""
    array = _array(binding)
    if array.ref is None and array.error is None and not array.is_removed:
        _unbind(mount, binding)


def _unbind(mount: Mount, binding: Binding) -> None:
    before = binding.program.inputs
    rest = {key: one for key, one in before.items() if one is not binding}
    binding.program.inputs = rest
    try:
        mount.remember(binding.program)
    except JaxfsError:
        binding.program.inputs = before
        raise
    binding.drop()


def _array(binding: Binding) -> NamedArray:
    """Returns the array of a binding that is shown as a file: symbolic links have none."""
    assert binding.array is not None
    return binding.array


async def _open(mount: Mount, binding: Binding, caller: Credentials, flags: int) -> OpenFile:
    return await open_array(mount, _array(binding), caller, flags)


LINK = SymlinkSpec[Binding](
    f"{INPUTS}/<link>",
    "a bound input: what it leads to, at each call",
    target=lambda mount, binding: binding.target,
)
ARRAY = FileSpec[Binding](
    f"{INPUTS}/<array>",
    0o644,
    "npy",
    "a bound input: an array of its own",
    open=_open,
    size=lambda mount, binding: array_size(mount, _array(binding)),
    xattrs=lambda mount, binding: array_xattrs(mount, _array(binding)),
    target=_array,
    settles=True,
    discard=_discard,
)

SPECS: tuple[NodeSpec, ...] = (
    DirectorySpec[Program, Binding](
        INPUTS,
        0o755,
        "inputs that calls need not bring: ln -s ../../../arrays/w <number or name>, or copy an "
        "array here; rm unbinds",
        entries=_list,
        create=_create,
        symlink=_symlink,
        unlink=_unlink,
        rename=_rename,
    ),
    LINK,
    ARRAY,
)
