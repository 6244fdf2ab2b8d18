"""``arrays/``: arrays that stay."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping

from jaxfs.arrays.named import NamedArray
from jaxfs.arrays.producers import ArrayRef
from jaxfs.arrays.views import View, encode, view_of_array
from jaxfs.calls.call import Call
from jaxfs.codecs import formats
from jaxfs.errors import Invalid, JaxfsError, NotPermitted
from jaxfs.ipc.spool import Spool
from jaxfs.posix.credentials import Credentials, InodeAttr
from jaxfs.vfs.files.results import facts, facts_of, open_view, view_size
from jaxfs.vfs.mount import Mount
from jaxfs.vfs.node_specs import DirectorySpec, DirEntry, FileSpec, NodeSpec
from jaxfs.vfs.open_files.base import OpenFile
from jaxfs.vfs.open_files.upload import UploadFile
from jaxfs.vfs.text import flat_keyed, lines

ARRAY = "arrays/<name>"
FORMAT = "arrays/<name>.<format>"
VIEW = "arrays/<name>.<view>"


def _list(system: Mount, subject: Mount) -> Iterable[DirEntry]:
    return [DirEntry(array.name, ARRAY, array) for array in system.calls.arrays]


def _find(system: Mount, subject: Mount, name: str) -> DirEntry | None:
    base, _, suffix = name.partition(".")
    array = system.calls.arrays.get(base)
    if array is None:
        return None
    if not suffix or (array.ref is None and suffix == array.format):
        return DirEntry(name, ARRAY, array)
    if suffix in _STORIES:
        return DirEntry(name, f"{ARRAY}.{suffix}", array)
    try:
        return DirEntry(name, FORMAT if _is_input(suffix) else VIEW, view_of_array(array, suffix))
    except JaxfsError:
        return None


def _is_input(suffix: str) -> bool:
    return suffix in formats.BY_NAME and formats.BY_NAME[suffix].is_input


def _create(system: Mount, subject: Mount, name: str, meta: InodeAttr) -> DirEntry:
    return DirEntry(name, ARRAY, system.calls.arrays.create(name, meta))


def _unlink(system: Mount, entry: DirEntry) -> None:
    if not isinstance(entry.subject, NamedArray) or entry.subject.name != entry.name:
        raise NotPermitted(f"{entry.name} is one way to look at an array; remove the array")
    system.calls.arrays.remove(entry.subject)


async def _rename(system: Mount, old: str, new: str, replace: bool) -> None:
    array = system.calls.arrays.get(old)
    if array is None:
        raise NotPermitted(f"arrays/{old} is one way to look at an array; use ln")
    system.calls.arrays.rename(array, new, replace=replace)


def _take(system: Mount, entry: DirEntry, new: str, replace: bool) -> None:
    """``mv results/1 arrays/w``: all of a result loses its old name, a part of it does not."""
    part, meta = _nameable(entry.subject)
    system.calls.arrays.put(new, part, meta, replace=replace)
    view = entry.subject
    if isinstance(view, View) and view.is_whole and isinstance(view.owner, Call):
        system.calls.give_away(view.owner)


def _link(system: Mount, subject: object, new: str) -> DirEntry:
    """``ln results/1 arrays/w``."""
    part, meta = _nameable(subject)
    return DirEntry(new, ARRAY, system.calls.arrays.put(new, part, meta, replace=False))


def _nameable(subject: object) -> tuple[ArrayRef, InodeAttr]:
    """What a name can be given to, and the owner it then has.

    Raises the error of a call that has failed: what had the name before is worth more.
    """
    if isinstance(subject, NamedArray):
        part, owner, mode = subject.content(), subject.meta, subject.meta.mode
    elif isinstance(subject, View):
        part, owner = subject.ref, subject.owner.attr
        mode = subject.owner.result_mode | owner.mode & 0o222  # chmod(1) of a result goes with it
    else:
        raise NotPermitted("only arrays and results have names in arrays/")
    if isinstance(part.producer, Call):
        part.producer.raise_error()
    if not part.params:
        raise Invalid(f"{part.path} has no arrays")
    return part, InodeAttr(owner.uid, owner.gid, mode)


async def open_array(system: Mount, array: NamedArray, caller: Credentials, flags: int) -> OpenFile:
    """Open for reading, in .npy, or for writing, in whatever its bytes tell."""
    if flags & os.O_ACCMODE == os.O_RDONLY:
        return await open_view(system, view_of_array(array, ""), caller, flags)
    return await _upload(system, array, caller, flags, array.format if array.ref is None else "")


async def _open_format(system: Mount, view: View, caller: Credentials, flags: int) -> OpenFile:
    if flags & os.O_ACCMODE == os.O_RDONLY:
        return await open_view(system, view, caller, flags)
    assert isinstance(view.owner, NamedArray)
    return await _upload(system, view.owner, caller, flags, view.format)


async def _before(array: NamedArray, form: str) -> bytes:
    """What is there, for who does not truncate it."""
    if array.ref is None or not array.ref.producer.has_ended:
        return b""
    part, held = array.ref, array.ref.producer.retain()
    try:
        return bytes(await encode(form, part.params, part.outputs()))
    finally:
        if held is not None:
            held.release()


async def _upload(
    system: Mount, array: NamedArray, caller: Credentials, flags: int, form: str
) -> OpenFile:
    """An array that is being written as a whole."""
    calls = system.calls

    async def commit(spool: Spool) -> None:
        pool = calls.pool(caller.uid)
        await calls.arrays.write(
            array, spool, pool, caller.uid, lambda path: calls.find(path, caller), form
        )

    kept = b"" if flags & os.O_TRUNC else await _before(array, form or "npy")
    return UploadFile(calls.spool(caller.uid), commit, flags, lambda: kept)


def array_size(system: Mount, array: NamedArray) -> int:
    """Bytes as .npy; 0 while nothing was written."""
    return view_of_array(array, "").size() if array.ref is not None else 0


def array_facts(system: Mount, array: NamedArray) -> Mapping[str, str]:
    """As ``results.facts``; none while nothing was written."""
    return facts_of(system, array.ref) if array.ref is not None else {}


def _error(system: Mount, array: NamedArray, caller: Credentials) -> bytes:
    source_error = array.ref.producer.error if array.ref is not None else None
    error = array.error or source_error
    return error.text().encode() if error is not None else b"ok\n"


def _status(system: Mount, array: NamedArray, caller: Credentials) -> bytes:
    part = array.ref
    rows: list[tuple[str, object]] = [("state", array.state)]
    if part is not None:
        is_there = part.producer.memory is not None
        rows += [
            ("arrays", len(part.params)),
            ("nbytes", part.nbytes),
            ("host_bytes", part.nbytes if is_there else 0),
            ("names", part.producer.link_count),
            ("waiting_runs", part.producer.consumers),
            ("device", facts_of(system, part)["device"]),
        ]
    return flat_keyed(rows)


def _fact(name: str) -> Callable[[Mount, NamedArray, Credentials], bytes]:
    def read(system: Mount, array: NamedArray, caller: Credentials) -> bytes:
        return lines(facts_of(system, array.content())[name].split("\n"))

    return read


_STORIES: dict[str, tuple[str, str, Callable[[Mount, NamedArray, Credentials], bytes]]] = {
    "status": ("flat keyed", "state empty|pending|ready|failed, size, names, where it is", _status),
    "error": ("text", '"ok", or why the last write failed, or what makes it', _error),
    "dtype": ("newline-separated", "the element type of each array, as in f32", _fact("dtype")),
    "shape": ("newline-separated", "the sizes of each array's dimensions", _fact("shape")),
    "device": ("single value", "where it is", _fact("device")),
    "nbytes": ("newline-separated", "the bytes of each array in memory", _fact("nbytes")),
}

ROWS: tuple[NodeSpec, ...] = (
    DirectorySpec(
        "arrays",
        0o1777,
        "arrays that stay: write .npy, .npz, .safetensors or text; mv or ln results here",
        entries=_list,
        find=_find,
        create=_create,
        link=_link,
        take=_take,
        unlink=_unlink,
        rename=_rename,
    ),
    FileSpec(
        ARRAY,
        0o666,
        "npy",
        "an array, or a pytree's arrays: a call's input as the word arrays/<name>; extended "
        "attributes as results have them",
        open=open_array,
        size=array_size,
        xattrs=array_facts,
    ),
    FileSpec(
        FORMAT,
        0o666,
        "binary or text",
        "the same in .npy .npz .safetensors .json .raw, to read and to write; not listed",
        open=_open_format,
        size=view_size,
        xattrs=facts,
        listed=False,
    ),
    FileSpec(
        VIEW,
        0o444,
        "binary or text",
        "some of its arrays (.0, .<name>), other formats (.txt .csv .png), or both; not listed",
        open=open_view,
        size=view_size,
        xattrs=facts,
        listed=False,
    ),
    *(
        FileSpec(f"{ARRAY}.{name}", 0o444, form, f"{text}; not listed", read=read, listed=False)
        for name, (form, text, read) in _STORIES.items()
    ),
)
