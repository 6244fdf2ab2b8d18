"""``programs/``: sources, and a directory for each program."""

from __future__ import annotations

import os
from collections.abc import Iterable

from jaxfs.ipc.spool import Spool
from jaxfs.posix.credentials import Caller, Meta
from jaxfs.programs.links import Link
from jaxfs.programs.program import Staged, Written
from jaxfs.vfs.files.program import HERE
from jaxfs.vfs.mount import System
from jaxfs.vfs.node_specs import Directory, Entry, File, Row, Symlink
from jaxfs.vfs.open_files.base import Handle
from jaxfs.vfs.open_files.disk import DiskFile
from jaxfs.vfs.open_files.upload import Upload

SOURCE = "programs/<program>.<ext>"
STAGING = "programs/.<name>"
LINK = "programs/<link>"


def _list(system: System, subject: System) -> Iterable[Entry]:
    for program in system.programs:
        yield Entry(program.name, HERE, program)
        yield Entry(program.source_name, SOURCE, program)
    for link in system.programs.links:
        yield Entry(link.name, LINK, link)
    for staged in system.programs.staged():
        yield Entry(staged.name, STAGING, staged)


def _find(system: System, subject: System, name: str) -> Entry | None:
    program = system.programs.get(name)
    if program is not None:
        return Entry(name, HERE, program)
    link = system.programs.links.get(name)
    if link is not None:
        return Entry(name, LINK, link)
    found = system.programs.find_file(name)
    if found is None:
        return None
    return Entry(name, STAGING if isinstance(found, Staged) else SOURCE, found)


def _create(system: System, subject: System, name: str, meta: Meta) -> Entry:
    found = system.programs.create(name, meta)
    return Entry(name, STAGING if isinstance(found, Staged) else SOURCE, found)


def _symlink(system: System, subject: System, name: str, target: str, meta: Meta) -> Entry:
    return Entry(name, LINK, system.programs.link(name, target, meta))


def _target(system: System, link: Link) -> str:
    return link.target


def _unlink(system: System, entry: Entry) -> None:
    system.programs.remove(entry.name)


async def _rename(system: System, old: str, new: str, replace: bool) -> None:
    await system.programs.rename(old, new, replace=replace)


async def _open_source(system: System, program: Written, caller: Caller, flags: int) -> Handle:
    if flags & os.O_ACCMODE == os.O_RDONLY:
        return DiskFile(system.programs.source_path(program))

    async def commit(spool: Spool) -> None:
        await system.programs.commit(program, spool.view())

    def before() -> bytes:
        return system.programs.read_source(program)

    return Upload(system.calls.spool(caller.uid), commit, flags, before)


def _source_size(system: System, program: Written) -> int:
    return program.source_bytes


async def _open_staged(system: System, staged: Staged, caller: Caller, flags: int) -> Handle:
    async def commit(spool: Spool) -> None:
        staged.data = bytes(spool.view())
        staged.meta.touch()

    return Upload(system.calls.spool(caller.uid), commit, flags, lambda: staged.data, plain=True)


def _staged_size(system: System, staged: Staged) -> int:
    return len(staged.data)


ROWS: tuple[Row, ...] = (
    Directory(
        "programs",
        0o1777,
        "write a program here and it is compiled",
        entries=_list,
        find=_find,
        create=_create,
        symlink=_symlink,
        unlink=_unlink,
        rename=_rename,
    ),
    File(
        SOURCE,
        0o666,
        "binary or text",
        "the source, byte for byte (.mlir .mlirbc .jaxexport .pkl; content decides, not the name)",
        open=_open_source,
        size=_source_size,
    ),
    File(
        STAGING,
        0o666,
        "binary or text",
        "a staging file: compiled when it is renamed to a program's name",
        open=_open_staged,
        size=_staged_size,
    ),
    Symlink(LINK, "a name for a program that stands elsewhere, made with ln -s", _target),
)
