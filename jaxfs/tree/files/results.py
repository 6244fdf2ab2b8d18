"""``results/<id>`` and its views."""

from __future__ import annotations

import os
from collections.abc import Iterable

import trio

from jaxfs.calls.call import Call
from jaxfs.calls.results import View, view_of
from jaxfs.errors import JaxfsError
from jaxfs.ownership import Caller
from jaxfs.tree.handles import EarlyResult, Handle, Result
from jaxfs.tree.rows import Directory, Entry, File, Row
from jaxfs.tree.system import System
from jaxfs.tree.text import flat_keyed


def call_status(system: System, call: Call, caller: Caller) -> bytes:
    """What ``calls/<id>`` and ``results/<id>.status`` say."""
    version = call.version
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


def _error(system: System, call: Call, caller: Caller) -> bytes:
    return call.error.text().encode() if call.error else b"ok\n"


def _visible(call: Call | None) -> bool:
    return call is not None and call.state != "writing"


def _list(system: System, subject: System) -> Iterable[Entry]:
    return [Entry(c.id, "results/<id>", view_of(c, "")) for c in system.calls if _visible(c)]


def _find(system: System, subject: System, name: str) -> Entry | None:
    call_id, _, suffix = name.partition(".")
    call = system.calls.get(call_id)
    if call is None or not _visible(call):
        return None
    if suffix in ("status", "error"):
        return Entry(name, f"results/<id>.{suffix}", call)
    try:
        row = "results/<id>.<view>" if suffix else "results/<id>"
        return Entry(name, row, view_of(call, suffix))
    except JaxfsError:
        return None


def _unlink(system: System, entry: Entry) -> None:
    subject = entry.subject
    system.calls.remove(subject.call if isinstance(subject, View) else subject)


async def _open(system: System, view: View, caller: Caller, flags: int) -> Handle:
    call = view.call
    if not call.has_ended and not call.is_rejected:
        if flags & os.O_NONBLOCK:
            return EarlyResult(view)
        await call.done.wait()
    return await Result.of(view)


def _end(call: Call) -> trio.Event:
    return call.done


def _size(system: System, view: View) -> int:
    return view.size()


ROWS: tuple[Row, ...] = (
    Directory(
        "results",
        0o1777,
        "outputs by call id; opening one waits for it, removing one cancels its call",
        entries=_list,
        find=_find,
        unlink=_unlink,
    ),
    File("results/<id>", 0o444, "npy", "all outputs, a .npy stream", open=_open, size=_size),
    File(
        "results/<id>.<view>",
        0o444,
        "binary or text",
        "one output (.0 or .<name>), another format (.npy .npz .safetensors .raw .json .txt .csv "
        ".png), or both (.0.txt); found by lookup, not listed",
        open=_open,
        size=_size,
        listed=False,
    ),
    File(
        "results/<id>.status",
        0o444,
        "flat keyed",
        "how the call went; poll(2) tells its end: POLLPRI",
        read=call_status,
        changed=_end,
    ),
    File("results/<id>.error", 0o444, "text", '"ok", or why it failed', read=_error),
)
