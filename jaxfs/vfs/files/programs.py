"""``programs/``: sources, and a directory for each program."""

from __future__ import annotations

import os
from collections.abc import Iterable

from jaxfs.ipc.spool import Spool
from jaxfs.posix.credentials import Credentials, InodeAttr
from jaxfs.programs.links import Link
from jaxfs.programs.program import SourceProgram, StagedFile
from jaxfs.vfs.files.program import HERE
from jaxfs.vfs.mount import Mount
from jaxfs.vfs.node_specs import DirectorySpec, DirEntry, FileSpec, NodeSpec, SymlinkSpec
from jaxfs.vfs.open_files.base import OpenFile
from jaxfs.vfs.open_files.disk import DiskFile
from jaxfs.vfs.open_files.upload import UploadFile

SOURCE = "programs/<program>.<ext>"
STAGING = "programs/.<name>"
LINK = "programs/<link>"


def _list(system: Mount, subject: Mount) -> Iterable[DirEntry]:
    for program in system.programs:
        yield DirEntry(program.name, HERE, program)
        yield DirEntry(program.source_name, SOURCE, program)
    for link in system.programs.links:
        yield DirEntry(link.name, LINK, link)
    for staged in system.programs.staging:
        yield DirEntry(staged.name, STAGING, staged)


def _find(system: Mount, subject: Mount, name: str) -> DirEntry | None:
    program = system.programs.get(name)
    if program is not None:
        return DirEntry(name, HERE, program)
    link = system.programs.links.get(name)
    if link is not None:
        return DirEntry(name, LINK, link)
    found = system.programs.find_file(name)
    if found is None:
        return None
    return DirEntry(name, STAGING if isinstance(found, StagedFile) else SOURCE, found)


def _create(system: Mount, subject: Mount, name: str, meta: InodeAttr) -> DirEntry:
    found = system.programs.create(name, meta)
    return DirEntry(name, STAGING if isinstance(found, StagedFile) else SOURCE, found)


def _symlink(system: Mount, subject: Mount, name: str, target: str, meta: InodeAttr) -> DirEntry:
    return DirEntry(name, LINK, system.programs.link(name, target, meta))


def _target(system: Mount, link: Link) -> str:
    return link.target


def _unlink(system: Mount, entry: DirEntry) -> None:
    system.programs.remove(entry.name)


async def _rename(system: Mount, old: str, new: str, replace: bool) -> None:
    await system.programs.rename(old, new, replace=replace)


async def _open_source(
    system: Mount, program: SourceProgram, caller: Credentials, flags: int
) -> OpenFile:
    if flags & os.O_ACCMODE == os.O_RDONLY:
        return DiskFile(system.programs.builds.source_path(program))

    async def commit(spool: Spool) -> None:
        await system.programs.builds.commit(program, spool.view())

    def before() -> bytes:
        return system.programs.builds.read_source(program)

    return UploadFile(system.calls.spool(caller.uid), commit, flags, before)


def _source_size(system: Mount, program: SourceProgram) -> int:
    return program.source_bytes


async def _open_staged(
    system: Mount, staged: StagedFile, caller: Credentials, flags: int
) -> OpenFile:
    async def commit(spool: Spool) -> None:
        staged.data = bytes(spool.view())
        staged.meta.touch()

    return UploadFile(
        system.calls.spool(caller.uid), commit, flags, lambda: staged.data, plain=True
    )


def _staged_size(system: Mount, staged: StagedFile) -> int:
    return len(staged.data)


ROWS: tuple[NodeSpec, ...] = (
    DirectorySpec(
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
    FileSpec(
        SOURCE,
        0o666,
        "binary or text",
        "the source, byte for byte (.mlir .mlirbc .jaxexport .pkl; content decides, not the name)",
        open=_open_source,
        size=_source_size,
    ),
    FileSpec(
        STAGING,
        0o666,
        "binary or text",
        "a staging file: compiled when it is renamed to a program's name",
        open=_open_staged,
        size=_staged_size,
    ),
    SymlinkSpec(LINK, "a name for a program that stands elsewhere, made with ln -s", _target),
)
