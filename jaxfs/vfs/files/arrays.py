"""``arrays/``: arrays with names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping

import trio

from jaxfs.arrays.array_names import is_staging, split_name
from jaxfs.arrays.array_refs import ArrayRef
from jaxfs.arrays.long_texts import Content, TextMemory, encode, release
from jaxfs.arrays.named_array import NamedArray
from jaxfs.arrays.staged_upload import StagedUpload
from jaxfs.arrays.views import View, make_view
from jaxfs.calls.call import Call
from jaxfs.codecs import formats
from jaxfs.errors import Invalid, JaxfsError, NameTaken, NotPermitted
from jaxfs.ipc.spool import Spool
from jaxfs.posix.credentials import Credentials, InodeAttr
from jaxfs.posix.node_object import NodeObject
from jaxfs.vfs.files.results import open_view, view_size, view_xattrs, xattrs_of_ref
from jaxfs.vfs.files.staged import commit_staged, staging_spec
from jaxfs.vfs.mount import Mount
from jaxfs.vfs.node_specs import DirectorySpec, DirEntry, FileSpec, NodeSpec
from jaxfs.vfs.open_files.base import OpenFile
from jaxfs.vfs.open_files.upload import UploadFile
from jaxfs.vfs.text import flat_keyed, lines

_PIECE_BYTES = 1 << 20  # copied between two turns of the event loop
Entry = DirEntry[NamedArray] | DirEntry[View] | DirEntry[StagedUpload]
Read = Callable[[Mount, NamedArray, Credentials], bytes]


def _list(mount: Mount, root: Mount) -> Iterable[Entry]:
    arrays = mount.calls.arrays
    yield from (ARRAY.entry(array.name, array) for array in arrays)
    yield from (STAGING.entry(staged.name, staged) for staged in arrays.staged)


def _find(mount: Mount, root: Mount, name: str) -> Entry | None:
    staged = mount.calls.arrays.staged.get(name)
    if staged is not None:
        return STAGING.entry(name, staged)
    base, _, suffix = name.partition(".") if not is_staging(name) else (name, "", "")
    array = mount.calls.arrays.get(base)
    if array is None:
        return None
    if not suffix or (array.ref is None and suffix == array.format):
        return ARRAY.entry(name, array)
    if suffix in PROPERTIES:
        return PROPERTIES[suffix].entry(name, array)
    is_input = suffix in formats.BY_NAME and formats.BY_NAME[suffix].is_input
    is_early = array.ref is None and bool(mount.calls.commits.under_way(array))
    try:
        view = mount.calls.arrays.views.view(array, suffix, is_early=is_early)
        return (FORMAT if is_input else VIEW).entry(name, view)
    except JaxfsError:
        return None


def _create(mount: Mount, root: Mount, name: str, attr: InodeAttr) -> Entry:
    if is_staging(name):
        return STAGING.entry(name, mount.calls.arrays.staged.create(name, attr))
    return ARRAY.entry(name, mount.calls.arrays.create(name, attr))


def _unlink(mount: Mount, entry: DirEntry[NamedArray | View | StagedUpload]) -> None:
    """Removes an array with all its views, or a staging file.

    Raises:
        NotPermitted: The name is that of a view, such as ``w.npz``.
    """
    array = entry.node_object
    if isinstance(array, StagedUpload):
        array.remove()
        return
    if not isinstance(array, NamedArray) or array.name != entry.name:
        raise NotPermitted(f"{entry.name} is one way to look at an array; remove the array")
    mount.calls.arrays.remove(array)


async def _rename(mount: Mount, root: Mount, old: str, new: str, replace: bool) -> None:
    """Renames an array or a staging file, which becomes an array by a name of one.

    Raises:
        NotPermitted: The old name is that of a view, such as ``w.npz``.
        JaxfsError: As `NamedArrays.rename` and `NamedArrays.write`.
    """
    staged = mount.calls.arrays.staged.get(old)
    if staged is not None:
        await _rename_staged(mount, staged, new, replace=replace)
        return
    array = mount.calls.arrays.get(old)
    if array is None:
        raise NotPermitted(f"arrays/{old} is one way to look at an array; use ln")
    _check_visible(mount, new)
    mount.calls.arrays.rename(array, new, replace=replace)


def _check_visible(mount: Mount, new: str) -> None:
    """Checks that a rename replaces nothing that its name does not show.

    An array to which nothing was written has no views: the kernel finds nothing by the name
    ``w.json``, and has not checked that the caller may replace ``w``.

    Raises:
        Invalid: It is no name of an array or of a staging file.
        NameTaken: There is such an array.
    """
    name = new if is_staging(new) else split_name(new)[0]
    if mount.calls.arrays.get(name) is not None and _find(mount, mount, new) is None:
        raise NameTaken(f"arrays/{name} is there already, and nothing was written to it yet")


async def _rename_staged(mount: Mount, staged: StagedUpload, new: str, *, replace: bool) -> None:
    calls = mount.calls
    if not replace and _find(mount, mount, new) is not None:
        raise NameTaken(f"arrays/{new} is there already")
    if is_staging(new):
        calls.arrays.staged.rename(staged, new)
        return
    _check_visible(mount, new)
    name, format_ = split_name(new)
    array = calls.arrays.get(name) or calls.arrays.create(new, staged.attr)

    async def write(spool: Spool, owner: Credentials) -> None:
        if not spool.size:
            raise Invalid(f"arrays/{staged.name} is empty")
        pool, find = calls.admission.pool(owner.uid), lambda path: calls.find(path, owner)
        settle = calls.commits.settle
        await calls.arrays.write(array, spool, pool, owner.uid, find, settle, format_)
        array.attr = staged.attr

    await commit_staged(mount, staged, array, f"arrays/{new}", write)


def _take(mount: Mount, entry: DirEntry[NodeObject], new: str, replace: bool) -> None:
    """Does ``mv results/1 arrays/w``: a whole result loses its old name, a part of it does not."""
    view = entry.node_object
    ref, attr = _nameable(mount, view)
    mount.calls.arrays.put(new, ref, attr, replace=replace)
    if isinstance(view, View) and view.is_whole and isinstance(view.owner, Call):
        mount.calls.remove(view.owner)


def _link(mount: Mount, node_object: NodeObject, new: str) -> Entry:
    """Does ``ln results/1 arrays/w``.

    Raises:
        NameTaken: There is an array of that name.
        JaxfsError: The object cannot have a name in ``arrays/``, see `_nameable`.
    """
    ref, attr = _nameable(mount, node_object)
    return ARRAY.entry(new, mount.calls.arrays.put(new, ref, attr, replace=False))


def _nameable(mount: Mount, node_object: NodeObject) -> tuple[ArrayRef, InodeAttr]:
    """Returns the arrays of an object that can have a name, and the attributes of the name.

    Raises:
        NotPermitted: The object is no array and no result.
        Invalid: It has no arrays.
        JaxfsError: Why its call failed: what had the name before is worth more.
    """
    if isinstance(node_object, NamedArray):
        ref, owner, mode = node_object.content(), node_object.attr, node_object.attr.mode
    elif isinstance(node_object, View):
        ref, owner = node_object.ref, node_object.attr
        mode = node_object.owner.result_mode | owner.mode & 0o222  # keeps the result's chmod(1)
    else:
        raise NotPermitted("only arrays and results have names in arrays/")
    if isinstance(ref.producer, Call) and not mount.calls.commits.under_way(ref.producer):
        ref.producer.raise_error()
    if not ref.params and not mount.calls.commits.under_way(ref.producer):
        raise Invalid(f"{ref.path} has no arrays")
    return ref, InodeAttr(owner.uid, owner.gid, mode)


async def open_array(mount: Mount, array: NamedArray, caller: Credentials, flags: int) -> OpenFile:
    """Opens an array for reading, in .npy, or for writing, in any format.

    The first write has the format of the name that the file was created with, as ``w.npz``.
    """
    if flags & os.O_ACCMODE == os.O_RDONLY:
        return await open_view(mount, make_view(array), caller, flags)
    return await _upload(mount, array, caller, flags, array.format if array.ref is None else "")


async def _open_format(mount: Mount, view: View, caller: Credentials, flags: int) -> OpenFile:
    """Opens an array in the format of a view: what is written must be in it too."""
    if flags & os.O_ACCMODE == os.O_RDONLY:
        return await open_view(mount, view, caller, flags)
    assert isinstance(view.owner, NamedArray)  # all views in this directory are of arrays
    return await _upload(mount, view.owner, caller, flags, view.format)


async def _keep(spool: Spool, array: NamedArray, format_: str, memory: TextMemory) -> None:
    """Writes what is there in a format; nothing if nothing was written, or it is pending.

    Raises:
        JaxfsError: It does not fit the format or the user's share.
    """
    if array.ref is None or not array.ref.producer.has_ended:
        return
    ref, retained = array.ref, array.ref.producer.retain()
    content: Content | None = None
    try:
        content = await encode(format_, ref.params, ref.outputs(), memory)
        while spool.size < content.nbytes:
            spool.append(content.read(spool.size, _PIECE_BYTES))
            await trio.lowlevel.checkpoint()
    finally:
        release(content)
        if retained is not None:
            retained.release()


async def _upload(
    mount: Mount, array: NamedArray, caller: Credentials, flags: int, format_: str
) -> OpenFile:
    """Opens an array for writing it as a whole, in a format; empty: any."""
    calls = mount.calls

    async def commit(spool: Spool) -> None:
        pool = calls.admission.pool(caller.uid)
        await calls.arrays.write(
            array,
            spool,
            pool,
            caller.uid,
            lambda path: calls.find(path, caller),
            calls.commits.settle,
            format_,
        )

    kept_bytes = 0 if flags & os.O_TRUNC or array.ref is None else array.ref.nbytes
    spool = calls.admission.spool(caller.uid, kept_bytes)
    try:
        if not flags & os.O_TRUNC:
            memory = calls.admission.text_memory(caller.uid)
            await _keep(spool, array, format_ or "npy", memory)
    except BaseException:
        spool.close()
        raise
    return UploadFile(spool, commit, flags)


def array_size(mount: Mount, array: NamedArray) -> int:
    """Returns the bytes as .npy, 0 while nothing was written."""
    return make_view(array).size() if array.ref is not None else 0


def array_xattrs(mount: Mount, array: NamedArray) -> Mapping[str, str]:
    """Returns the extended attributes as those of a view; none while nothing was written."""
    return xattrs_of_ref(mount, array.ref) if array.ref is not None else {}


def _error(mount: Mount, array: NamedArray, caller: Credentials) -> bytes:
    """Returns why the array cannot be read.

    The error of the last write counts before that of the call which makes the content.
    """
    producer_error = array.ref.producer.error if array.ref is not None else None
    error = array.error or producer_error
    return error.text().encode() if error is not None else b"ok\n"


def _status(mount: Mount, array: NamedArray, caller: Credentials) -> bytes:
    ref = array.ref
    errno_name = array.error.errno_name if array.error is not None else ""
    rows: list[tuple[str, object]] = [("state", array.state), ("errno", errno_name)]
    if ref is not None:
        is_there = ref.producer.memory is not None
        rows += [
            ("arrays", len(ref.params)),
            ("nbytes", ref.nbytes),
            ("host_bytes", ref.nbytes if is_there else 0),
            ("names", ref.producer.link_count),
            ("waiting_runs", ref.producer.consumers),
            ("device", xattrs_of_ref(mount, ref)["device"]),
        ]
    return flat_keyed(rows)


def _xattr(name: str) -> Read:
    """Returns the read of a file with one extended attribute."""

    def read(mount: Mount, array: NamedArray, caller: Credentials) -> bytes:
        return lines(xattrs_of_ref(mount, array.content())[name].split("\n"))

    return read


def _property(name: str, format_: str, help_text: str, read: Read) -> FileSpec[NamedArray]:
    return FileSpec(
        f"{ARRAY.pattern}.{name}",
        0o444,
        format_,
        f"{help_text}; not listed",
        read=read,
        target=lambda array: array,
        settles=name != "status",
        listed=False,
    )


def discard(mount: Mount, array: NamedArray) -> None:
    """Removes an array to which nothing was ever written: its writer was killed."""
    if array.ref is None and array.error is None:
        mount.calls.arrays.remove(array)


STAGING = staging_spec("arrays", "a staging file: an array once it is renamed to a name of one")
ARRAY = FileSpec[NamedArray](
    "arrays/<name>",
    0o666,
    "npy",
    "an array, or a pytree's arrays: a call's input as the word arrays/<name>; extended "
    "attributes as results have them",
    open=open_array,
    size=array_size,
    xattrs=array_xattrs,
    target=lambda array: array,
    settles=True,
    discard=discard,
    is_primary=True,
)
FORMAT = FileSpec[View](
    "arrays/<name>.<format>",
    0o666,
    "binary or text",
    "the same in .npy .npz .safetensors .json .raw, to read and to write; not listed",
    open=_open_format,
    size=view_size,
    xattrs=view_xattrs,
    target=lambda view: view.owner,
    settles=True,
    listed=False,
)
VIEW = FileSpec[View](
    "arrays/<name>.<view>",
    0o444,
    "binary or text",
    "some of its arrays (.0, .<name>), other formats (.txt .csv .png), or both; not listed",
    open=open_view,
    size=view_size,
    xattrs=view_xattrs,
    target=lambda view: view.owner,
    settles=True,
    listed=False,
)
PROPERTIES = {
    spec.name.rpartition(".")[2]: spec
    for spec in (
        _property(
            "status",
            "flat keyed",
            "state empty|pending|ready|failed, size, names, where it is",
            _status,
        ),
        _property("error", "text", '"ok", or why the last write failed, or what makes it', _error),
        _property(
            "dtype",
            "newline-separated",
            "the element type of each array, as in f32",
            _xattr("dtype"),
        ),
        _property(
            "shape", "newline-separated", "the sizes of each array's dimensions", _xattr("shape")
        ),
        _property("device", "single value", "where it is", _xattr("device")),
        _property(
            "nbytes", "newline-separated", "the bytes of each array in memory", _xattr("nbytes")
        ),
    )
}

SPECS: tuple[NodeSpec, ...] = (
    DirectorySpec[Mount, NamedArray | View | StagedUpload](
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
    ARRAY,
    STAGING,
    FORMAT,
    VIEW,
    *PROPERTIES.values(),
)
