"""``programs/<program>/call`` and ``calls/``: how a program is run."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable

from jaxfs.calls.call import Call
from jaxfs.calls.call_registry import split_id
from jaxfs.calls.conversation import Conversation
from jaxfs.codecs.formats import FORMATS
from jaxfs.errors import JaxfsError, NameTaken
from jaxfs.ipc.spool import Spool
from jaxfs.posix.credentials import Credentials, InodeAttr
from jaxfs.programs.program import Program
from jaxfs.vfs.files.program import HERE
from jaxfs.vfs.files.results import call_status
from jaxfs.vfs.mount import Mount
from jaxfs.vfs.node_specs import DirectorySpec, DirEntry, FileSpec, NodeSpec
from jaxfs.vfs.open_files.base import OpenFile
from jaxfs.vfs.open_files.control import SnapshotFile
from jaxfs.vfs.open_files.conversation_file import ConversationFile
from jaxfs.vfs.open_files.upload import UploadFile

CALLS = f"{HERE}/calls"


def usage(program: Program) -> bytes:
    """What opening ``call`` read-only shows."""
    here = program.path
    signature = program.compiled.signature.text() if program.compiled else "see ./error\n"
    return (
        f"Open this file for reading and writing, write the inputs, read the outputs, repeat:\n"
        f"    exec 3<>{here}/call; cat x.npy y.npy >&3; cat <&3\n"
        f"Inputs are .npy streams one after another, or text: JSON numbers and nested lists.\n"
        f"The reply comes in the format of the request. call.raw takes and gives raw bytes:\n"
        f"all inputs in order, little-endian, C order.\n"
        f"A word may also name arrays: arrays/<name>, results/<id>, results/<id>.<output>.\n"
        f"Without an answer on the same file:\n"
        f"    cat x.npy y.npy > {here}/calls/job1; cat results/job1.txt\n\n"
        f"{signature}"
    ).encode()


def _usage_size(system: Mount, program: Program) -> int:
    return len(usage(program))


def _open_call(form: str) -> Callable[[Mount, Program, Credentials, int], Awaitable[OpenFile]]:
    async def open_call(
        system: Mount, program: Program, caller: Credentials, flags: int
    ) -> OpenFile:
        if flags & os.O_ACCMODE == os.O_RDONLY:
            return SnapshotFile(usage(program))
        if program.current is None:
            await program.wait_compiled()
        return ConversationFile(Conversation(system.calls, program, form, caller), flags)

    return open_call


def _name(call: Call) -> str:
    return f"{call.id}.{call.format}" if call.format else call.id


def _list(system: Mount, program: Program) -> Iterable[DirEntry]:
    return [DirEntry(_name(call), f"{CALLS}/<id>", call) for call in system.calls.of(program)]


def _find(system: Mount, program: Program, name: str) -> DirEntry | None:
    try:
        call_id, form = split_id(name)
    except JaxfsError:
        return None
    call = system.calls.get(call_id)
    if call is None or call.program is not program or not call.listed:
        return None
    return DirEntry(name, f"{CALLS}/<id>", call) if form in ("", call.format) else None


def _create(system: Mount, program: Program, name: str, meta: InodeAttr) -> DirEntry:
    return DirEntry(name, f"{CALLS}/<id>", system.calls.create(program, name, meta))


def _unlink(system: Mount, entry: DirEntry) -> None:
    system.calls.unlist(entry.subject)


async def _open(system: Mount, call: Call, caller: Credentials, flags: int) -> OpenFile:
    if flags & os.O_ACCMODE == os.O_RDONLY:
        return SnapshotFile(call_status(system, call, caller))
    if call.submitted_usec:
        raise NameTaken(f"call {call.id} was submitted; use another id, or rm results/{call.id}")

    async def commit(spool: Spool) -> None:
        await system.calls.submit(call, spool, caller)

    version = call.program.compiled
    avals = version.signature.input_avals if version else ()
    hint = sum(aval.nbytes + 256 for aval in avals)
    return UploadFile(system.calls.spool(caller.uid, hint), commit, flags)


def _size(system: Mount, call: Call) -> int:
    return len(call_status(system, call, Credentials(0, 0)))


_ALIASES = tuple(
    FileSpec(
        f"{HERE}/call.{row.name}",
        0o666,
        row.name,
        f"the same, in {row.name} whatever the bytes look like; found by lookup, not listed",
        open=_open_call(row.name),
        size=_usage_size,
        listed=False,
    )
    for row in FORMATS
    if row.decode is not None
)

ROWS: tuple[NodeSpec, ...] = (
    FileSpec(
        f"{HERE}/call",
        0o666,
        "npy or text",
        "one open file = one conversation: write the inputs, read the outputs, repeat",
        open=_open_call(""),
        size=_usage_size,
    ),
    *_ALIASES,
    DirectorySpec(
        CALLS,
        0o1777,
        "create a file, write the inputs, close: that submits a call",
        entries=_list,
        find=_find,
        create=_create,
        unlink=_unlink,
    ),
    FileSpec(
        f"{CALLS}/<id>",
        0o666,
        "npy or text",
        "one call; reading it gives its status, results/<id> its outputs",
        open=_open,
        size=_size,
    ),
)
