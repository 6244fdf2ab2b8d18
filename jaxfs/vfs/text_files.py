"""Opening a file whose node spec has functions of text: `read`, `write` and `changed`."""

from __future__ import annotations

import functools
import os

from jaxfs.posix.credentials import Credentials
from jaxfs.posix.node_object import NodeObject
from jaxfs.vfs.mount import Mount
from jaxfs.vfs.node_specs import AnyFile
from jaxfs.vfs.open_files.base import OpenFile
from jaxfs.vfs.open_files.control import ControlFile, SnapshotFile, StatusFile


def open_text(
    spec: AnyFile, mount: Mount, node_object: NodeObject, caller: Credentials, flags: int
) -> OpenFile:
    """Opens a file by the text functions of its spec.

    Args:
        spec: The file's node spec; its own ``open`` is not looked at.
        mount: What the spec's functions take, with the two that follow.
        node_object: The object that the file shows.
        caller: The process that opens it.
        flags: Those of open(2); what was written goes to ``write`` at close(2).

    Returns:
        A snapshot of the text, or where the spec has ``changed``, a file that can be polled.
    """
    read, write, changed = spec.read, spec.write, spec.changed
    if flags & os.O_ACCMODE != os.O_RDONLY and write is not None:

        async def commit(text: str) -> None:
            await write(mount, node_object, caller, text)

        kept = functools.partial(read, mount, node_object, caller) if read is not None else None
        keyed = spec.format == "flat keyed"  # a line is added to the others
        return ControlFile(commit, appends=bool(flags & os.O_APPEND), kept=kept if keyed else None)
    if read is None:
        return SnapshotFile(b"")
    if changed is not None:
        return StatusFile(lambda: read(mount, node_object, caller), lambda: changed(node_object))
    return SnapshotFile(read(mount, node_object, caller))
