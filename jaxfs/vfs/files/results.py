"""``results/<id>`` and its views."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from jaxfs.arrays.array_refs import ArrayRef
from jaxfs.arrays.views import View
from jaxfs.calls.call import Call
from jaxfs.errors import Cancelled, JaxfsError
from jaxfs.posix.credentials import Credentials
from jaxfs.vfs.mount import Mount
from jaxfs.vfs.node_specs import DirectorySpec, DirEntry, FileSpec, NodeSpec
from jaxfs.vfs.open_files.base import OpenFile
from jaxfs.vfs.open_files.result import PendingResultFile, ResultFile
from jaxfs.vfs.text import flat_keyed

Entry = DirEntry[View] | DirEntry[Call]


def call_status(mount: Mount, call: Call, caller: Credentials) -> bytes:
    """Returns the text of ``calls/<id>`` and ``results/<id>.status``."""
    compiled, submits = call.compiled, mount.calls.commits.under_way(call)
    return flat_keyed(
        [
            ("state", "submitting" if submits else call.state),
            ("program", call.program.label),
            ("device", compiled.device if compiled else ""),
            ("input_bytes", call.input_bytes),
            ("output_bytes", compiled.executable.output_bytes if compiled else 0),
            ("total_usec", call.total_usec),
            ("run_usec", call.run_usec),
            ("errno", call.error.errno_name if call.error else ""),
        ]
    )


def _error(mount: Mount, call: Call, caller: Credentials) -> bytes:
    return call.error.text().encode() if call.error else b"ok\n"


def _list(mount: Mount, root: Mount) -> Iterable[Entry]:
    """Lists the calls that have a result or will have one.

    A call that is still being written is in ``calls/`` only; one that is being submitted is found
    here by lookup.
    """
    views = mount.calls.arrays.views
    for call in mount.calls:
        if call.state != "writing" and mount.calls.get(call.id) is call:
            yield RESULT.entry(call.id, views.view(call, ""))


def _find(mount: Mount, root: Mount, name: str) -> Entry | None:
    call_id, _, suffix = name.partition(".")
    call = mount.calls.get(call_id)
    submits = call is not None and (call.is_opening or bool(mount.calls.commits.under_way(call)))
    if call is None or (call.state == "writing" and not submits):
        return None
    if suffix in _ABOUT_CALL:
        return _ABOUT_CALL[suffix].entry(name, call)
    try:
        view = mount.calls.arrays.views.view(call, suffix, is_early=submits)
        return (VIEW if suffix else RESULT).entry(name, view)
    except JaxfsError:
        return None


def _unlink(mount: Mount, entry: DirEntry[View | Call]) -> None:
    """Removes a call and its result.

    A run that has not ended is killed, see `Calls.remove`.
    """
    node_object = entry.node_object
    call = node_object.owner if isinstance(node_object, View) else node_object
    assert isinstance(call, Call)  # all views in this directory are of calls
    mount.calls.remove(call)


async def open_view(mount: Mount, view: View, caller: Credentials, flags: int) -> OpenFile:
    """Opens arrays for reading, after waiting for those that are not there yet."""
    memory = mount.calls.admission.text_memory(caller.uid)
    commits, owner = mount.calls.commits, view.owner
    if isinstance(owner, Call) and owner.opening is not None and owner.is_opening:
        if flags & os.O_NONBLOCK:
            return PendingResultFile(view, memory, owner.opening)
        await owner.opening.wait()
        await commits.settle(owner)
        if owner.state == "writing":
            raise Cancelled(f"call {owner.id} was not submitted: its writer was killed")
    early = commits.under_way(view.owner) or commits.under_way(view.producer)
    if early and flags & os.O_NONBLOCK:
        return PendingResultFile(view, memory, early[-1].ended)
    await commits.settle(view.producer)
    if not view.producer.has_ended and not view.producer.is_rejected:
        if flags & os.O_NONBLOCK:
            return PendingResultFile(view, memory)
        await mount.readers.wait(view.producer.done)
    return await ResultFile.of(view, memory)


def view_size(mount: Mount, view: View) -> int:
    """Returns the exact size, or 0 if it depends on values that are not there."""
    return view.size()


def view_xattrs(mount: Mount, view: View) -> Mapping[str, str]:
    """Returns the extended attributes ``user.jaxfs.*``, a line for each array.

    Those of a call that is being submitted are not known yet.
    """
    return {} if view.is_early else xattrs_of_ref(mount, view.ref)


def xattrs_of_ref(mount: Mount, ref: ArrayRef) -> Mapping[str, str]:
    """Returns dtype, shape and size with a line for each array, and the device of all."""
    avals = [param.aval for param in ref.params]
    return {
        "dtype": "\n".join(aval.dtype for aval in avals),
        "shape": "\n".join(" ".join(map(str, aval.shape)) for aval in avals),
        "nbytes": "\n".join(str(aval.nbytes) for aval in avals),
        "device": _device_of(mount, ref),
    }


def _device_of(mount: Mount, ref: ArrayRef) -> str:
    """Returns the device in whose memory arrays are.

    A CPU computes on shared memory, where results are; other devices get copies.
    """
    first = mount.engines.devices()[0]
    if first.platform != "cpu":
        return "host"
    compiled = ref.producer.compiled if isinstance(ref.producer, Call) else None
    return compiled.device if compiled is not None else first.name


RESULT = FileSpec[View](
    "results/<id>",
    0o444,
    "npy",
    "all outputs, a .npy stream; user.jaxfs.dtype, .shape, .nbytes, .device by getfattr(1)",
    open=open_view,
    size=view_size,
    xattrs=view_xattrs,
    target=lambda view: view.owner,
    settles=True,
)
VIEW = FileSpec[View](
    "results/<id>.<view>",
    0o444,
    "binary or text",
    "one output (.0 or .<name>), those whose names begin so (.params), another format (.npy "
    ".npz .safetensors .raw .json .txt .csv .png), or both (.0.txt); found by lookup, not "
    "listed",
    open=open_view,
    size=view_size,
    xattrs=view_xattrs,
    target=lambda view: view.owner,
    settles=True,
    listed=False,
)
_ABOUT_CALL = {
    "status": FileSpec[Call](
        "results/<id>.status",
        0o444,
        "flat keyed",
        "how the call went; poll(2) reports its end: POLLPRI",
        read=call_status,
        changed=lambda call: call.done,
    ),
    "error": FileSpec[Call](
        "results/<id>.error",
        0o444,
        "text",
        '"ok", or why it failed',
        read=_error,
        target=lambda call: call,
        settles=True,
    ),
}

SPECS: tuple[NodeSpec, ...] = (
    DirectorySpec[Mount, View | Call](
        "results",
        0o1777,
        "outputs by call id; opening one waits for it; rm stops a call that nothing waits for",
        entries=_list,
        find=_find,
        unlink=_unlink,
    ),
    RESULT,
    VIEW,
    *_ABOUT_CALL.values(),
)
