"""``programs/<program>/call`` and ``calls/``: how a program is run."""

from __future__ import annotations

import os
from collections.abc import Iterable

import trio

from jaxfs.arrays.staged_upload import StagedUpload
from jaxfs.calls.call import Call
from jaxfs.calls.call_registry import split_id
from jaxfs.calls.conversation import Conversation
from jaxfs.codecs.formats import FORMATS
from jaxfs.errors import JaxfsError, NameTaken, NotPermitted
from jaxfs.ipc.spool import Spool
from jaxfs.posix.credentials import Credentials, InodeAttr
from jaxfs.programs import names
from jaxfs.programs.program import Program
from jaxfs.vfs.files.program import PROGRAM
from jaxfs.vfs.files.results import call_status
from jaxfs.vfs.files.staged import commit_staged, staging_spec
from jaxfs.vfs.mount import Mount
from jaxfs.vfs.node_specs import DirectorySpec, DirEntry, FileSpec, NodeSpec
from jaxfs.vfs.open_files.base import OpenFile
from jaxfs.vfs.open_files.control import SnapshotFile
from jaxfs.vfs.open_files.conversation_file import ConversationFile
from jaxfs.vfs.open_files.upload import UploadFile

CALLS = f"{PROGRAM.pattern}/calls"


def usage(program: Program) -> bytes:
    """Returns the text of ``call`` when it is opened read-only."""
    path = program.path
    signature = program.compiled.signature.text() if program.compiled else "see ./error\n"
    return (
        f"Open this file for reading and writing, write the inputs, read the outputs, repeat:\n"
        f"    exec 3<>{path}/call; cat x.npy y.npy >&3; cat <&3\n"
        f"Inputs are .npy streams one after another, or text: JSON numbers and nested lists.\n"
        f"The reply comes in the format of the request. call.raw takes and gives raw bytes:\n"
        f"all inputs in order, little-endian, C order.\n"
        f"A word may also name arrays: arrays/<name>, results/<id>, results/<id>.<output>.\n"
        f"Without an answer on the same file:\n"
        f"    cat x.npy y.npy > {path}/calls/job1; cat results/job1.txt\n\n"
        f"{signature}"
    ).encode()


def _call_file(name: str, format_: str, shown_format: str, help_text: str) -> FileSpec[Program]:
    """Returns the spec of a file whose open is a conversation in a format; empty: any."""

    async def open_call(
        mount: Mount, program: Program, caller: Credentials, flags: int
    ) -> OpenFile:
        if flags & os.O_ACCMODE == os.O_RDONLY:
            return SnapshotFile(usage(program))
        if program.current is None:
            await program.wait_compiled()
        return ConversationFile(Conversation(mount.calls, program, format_, caller), flags)

    return FileSpec(
        f"{PROGRAM.pattern}/{name}",
        0o666,
        shown_format,
        help_text,
        open=open_call,
        size=lambda mount, program: len(usage(program)),
        listed=not format_,
    )


Entry = DirEntry[Call] | DirEntry[StagedUpload]


def _list(mount: Mount, program: Program) -> Iterable[Entry]:
    for staged in mount.calls.staged(program):
        yield STAGING.entry(staged.name, staged)
    for call in mount.calls.of(program):
        yield CALL.entry(f"{call.id}.{call.format}" if call.format else call.id, call)


def _find(mount: Mount, program: Program, name: str) -> Entry | None:
    if names.is_staging(name):
        staged = mount.calls.staged(program).get(name)
        return STAGING.entry(name, staged) if staged is not None else None
    try:
        call_id, format_ = split_id(name)
    except JaxfsError:
        return None
    call = mount.calls.get(call_id)
    if call is None or call.program is not program or not call.listed:
        return None
    return CALL.entry(name, call) if format_ in ("", call.format) else None


def _create(mount: Mount, program: Program, name: str, attr: InodeAttr) -> Entry:
    if names.is_staging(name):
        return STAGING.entry(name, mount.calls.staged(program).create(name, attr))
    return CALL.entry(name, mount.calls.create(program, name, attr))


def _unlink(mount: Mount, entry: DirEntry[Call | StagedUpload]) -> None:
    file = entry.node_object
    if isinstance(file, StagedUpload):
        file.remove()
    else:
        mount.calls.unlist(file)


async def _rename(mount: Mount, program: Program, old: str, new: str, replace: bool) -> None:
    """Renames a staging file; one that gets an id is submitted.

    Raises:
        NotPermitted: It is a call: its id is used once.
        NameTaken: There is a file of the new name, and ``replace`` is off; or a result.
        JaxfsError: What submitting it raised.
    """
    files = mount.calls.staged(program)
    staged = files.get(old)
    if staged is None:
        raise NotPermitted(f"calls/{old} was written under its id, which cannot be changed")
    is_shown = _find(mount, program, new) is not None
    if not replace and is_shown:
        raise NameTaken(f"calls/{new} is there already")
    if names.is_staging(new):
        files.rename(staged, new)
        return
    # by a name that shows no file, as job1.raw beside job1, the kernel has not checked that the
    # caller may replace the call
    call = mount.calls.to_submit(program, new, staged.attr, replace=replace and is_shown)

    async def submit(spool: Spool, owner: Credentials) -> None:
        await mount.calls.submit(call, spool, owner)

    await commit_staged(mount, staged, call, f"{program.path}/calls/{new}", submit)


async def _open(mount: Mount, call: Call, caller: Credentials, flags: int) -> OpenFile:
    if flags & os.O_ACCMODE == os.O_RDONLY:
        return SnapshotFile(call_status(mount, call, caller))
    if call.submitted_usec or mount.calls.commits.under_way(call):
        raise NameTaken(f"call {call.id} was submitted; use another id, or rm results/{call.id}")

    async def commit(spool: Spool) -> None:
        await mount.calls.submit(call, spool, caller)

    compiled = call.program.compiled
    avals = compiled.signature.input_avals if compiled else ()
    expected_bytes = sum(aval.nbytes + 256 for aval in avals)
    spool = mount.calls.admission.spool(caller.uid, expected_bytes)
    if mount.calls.needs_no_bytes(call, caller):
        call.opening = trio.Event()
        return UploadFile(spool, commit, flags, released=call.opening)
    return UploadFile(spool, commit, flags)


STAGING = staging_spec(CALLS, "a staging file: submitted when it is renamed to an id")
CALL = FileSpec[Call](
    f"{CALLS}/<id>",
    0o666,
    "npy or text",
    "one call; reading it gives its status, results/<id> its outputs",
    open=_open,
    size=lambda mount, call: len(call_status(mount, call, Credentials(0, 0))),
    target=lambda call: call,
    discard=lambda mount, call: mount.calls.discard(call),
    is_primary=True,
)

SPECS: tuple[NodeSpec, ...] = (
    _call_file(
        "call",
        "",
        "npy or text",
        "one open file = one conversation: write the inputs, read the outputs, repeat",
    ),
    *(
        _call_file(
            f"call.{row.name}",
            row.name,
            row.name,
            f"the same, in {row.name} whatever the bytes look like; found by lookup, not listed",
        )
        for row in FORMATS
        if row.decode is not None
    ),
    DirectorySpec[Program, Call | StagedUpload](
        CALLS,
        0o1777,
        "create a file, write the inputs, close: that submits a call",
        entries=_list,
        find=_find,
        create=_create,
        unlink=_unlink,
        rename=_rename,
    ),
    CALL,
    STAGING,
)
