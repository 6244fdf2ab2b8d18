"""``results/<id>`` and its views."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

import trio

from jaxfs.arrays.producers import ArrayRef
from jaxfs.arrays.views import View
from jaxfs.calls.call import Call, view_of
from jaxfs.errors import JaxfsError
from jaxfs.posix.credentials import Credentials
from jaxfs.vfs.mount import Mount
from jaxfs.vfs.node_specs import DirectorySpec, DirEntry, FileSpec, NodeSpec
from jaxfs.vfs.open_files.base import OpenFile
from jaxfs.vfs.open_files.result import PendingResultFile, ResultFile
from jaxfs.vfs.text import flat_keyed


def call_status(system: Mount, call: Call, caller: Credentials) -> bytes:
    """What ``calls/<id>`` and ``results/<id>.status`` say."""
    version = call.compiled
    return flat_keyed(
        [
            ("state", call.state),
            ("program", call.program.label),
            ("device", version.device if version else ""),
            ("input_bytes", call.input_bytes),
            ("output_bytes", version.executable.output_bytes if version else 0),
            ("total_usec", call.total_usec),
            ("run_usec", call.run_usec),
            ("errno", call.error.errno_name if call.error else ""),
        ]
    )


def _error(system: Mount, call: Call, caller: Credentials) -> bytes:
    return call.error.text().encode() if call.error else b"ok\n"


def _visible(call: Call | None) -> bool:
    return call is not None and call.state != "writing"


def _list(system: Mount, subject: Mount) -> Iterable[DirEntry]:
    return [DirEntry(c.id, "results/<id>", view_of(c, "")) for c in system.calls if _visible(c)]


def _find(system: Mount, subject: Mount, name: str) -> DirEntry | None:
    call_id, _, suffix = name.partition(".")
    call = system.calls.get(call_id)
    if call is None or not _visible(call):
        return None
    if suffix in ("status", "error"):
        return DirEntry(name, f"results/<id>.{suffix}", call)
    try:
        row = "results/<id>.<view>" if suffix else "results/<id>"
        return DirEntry(name, row, view_of(call, suffix))
    except JaxfsError:
        return None


def _unlink(system: Mount, entry: DirEntry) -> None:
    subject = entry.subject
    call = subject.owner if isinstance(subject, View) else subject
    assert isinstance(call, Call)  # as all that is shown here
    system.calls.remove(call)


async def open_view(system: Mount, view: View, caller: Credentials, flags: int) -> OpenFile:
    """Open arrays for reading, waiting for them where they are not there yet."""
    if not view.producer.has_ended and not view.producer.is_rejected:
        if flags & os.O_NONBLOCK:
            return PendingResultFile(view)
        await view.producer.done.wait()
    return await ResultFile.of(view)


def _end(call: Call) -> trio.Event:
    return call.done


def view_size(system: Mount, view: View) -> int:
    """The exact size, or 0 where only the values tell it."""
    return view.size()


def facts(system: Mount, view: View) -> Mapping[str, str]:
    """What the extended attributes user.jaxfs.* say; a line for each array."""
    return facts_of(system, view.ref)


def facts_of(system: Mount, part: ArrayRef) -> Mapping[str, str]:
    """Of each array its dtype, shape and size, a line each; where they are."""
    avals = [param.aval for param in part.params]
    return {
        "dtype": "\n".join(aval.dtype for aval in avals),
        "shape": "\n".join(" ".join(map(str, aval.shape)) for aval in avals),
        "nbytes": "\n".join(str(aval.nbytes) for aval in avals),
        "device": _device_of(system, part),
    }


def _device_of(system: Mount, part: ArrayRef) -> str:
    """A CPU computes where arrays stand in shared memory; other devices are sent them."""
    first = system.engines.devices()[0]
    if first.platform != "cpu":
        return "host"
    version = part.producer.compiled if isinstance(part.producer, Call) else None
    return version.device if version is not None else first.name


ROWS: tuple[NodeSpec, ...] = (
    DirectorySpec(
        "results",
        0o1777,
        "outputs by call id; opening one waits for it, removing one cancels its call",
        entries=_list,
        find=_find,
        unlink=_unlink,
    ),
    FileSpec(
        "results/<id>",
        0o444,
        "npy",
        "all outputs, a .npy stream; user.jaxfs.dtype, .shape, .nbytes, .device by getfattr(1)",
        open=open_view,
        size=view_size,
        xattrs=facts,
    ),
    FileSpec(
        "results/<id>.<view>",
        0o444,
        "binary or text",
        "one output (.0 or .<name>), those whose names begin so (.params), another format (.npy "
        ".npz .safetensors .raw .json .txt .csv .png), or both (.0.txt); found by lookup, not "
        "listed",
        open=open_view,
        size=view_size,
        xattrs=facts,
        listed=False,
    ),
    FileSpec(
        "results/<id>.status",
        0o444,
        "flat keyed",
        "how the call went; poll(2) tells its end: POLLPRI",
        read=call_status,
        changed=_end,
    ),
    FileSpec("results/<id>.error", 0o444, "text", '"ok", or why it failed', read=_error),
)
