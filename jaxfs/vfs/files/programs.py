"""``programs/``: sources, and a directory for each program."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Iterable, Mapping

import attrs
import trio

from jaxfs.errors import RunFailed
from jaxfs.ipc.spool import Spool
from jaxfs.posix.credentials import Credentials, InodeAttr
from jaxfs.programs.links import Link
from jaxfs.programs.program import Program, SourceProgram
from jaxfs.programs.staged_file import StagedFile
from jaxfs.vfs.files.program import PROGRAM
from jaxfs.vfs.mount import Mount
from jaxfs.vfs.node_specs import DirectorySpec, DirEntry, FileSpec, NodeSpec, SymlinkSpec
from jaxfs.vfs.open_files.base import OpenFile
from jaxfs.vfs.open_files.disk import DiskFile
from jaxfs.vfs.open_files.upload import CommitBytes, UploadFile

Entry = DirEntry[Program] | DirEntry[Link] | DirEntry[StagedFile]


def _list(mount: Mount, root: Mount) -> Iterable[Entry]:
    for program in mount.programs:
        yield PROGRAM.entry(program.name, program)
        yield SOURCE.entry(program.source_name, program)
    for link in mount.programs.links:
        yield LINK.entry(link.name, link)
    for staged in mount.programs.staging:
        yield STAGING.entry(staged.name, staged)


def _find(mount: Mount, root: Mount, name: str) -> Entry | None:
    program = mount.programs.get(name)
    if program is not None:
        return PROGRAM.entry(name, program)
    link = mount.programs.links.get(name)
    if link is not None:
        return LINK.entry(name, link)
    file = mount.programs.find_file(name)
    return _file_entry(name, file) if file is not None else None


def _file_entry(name: str, file: SourceProgram | StagedFile) -> Entry:
    return STAGING.entry(name, file) if isinstance(file, StagedFile) else SOURCE.entry(name, file)


def _create(mount: Mount, root: Mount, name: str, attr: InodeAttr) -> Entry:
    return _file_entry(name, mount.programs.create(name, attr))


def _symlink(mount: Mount, root: Mount, name: str, target: str, attr: InodeAttr) -> DirEntry[Link]:
    return LINK.entry(name, mount.programs.link(name, target, attr))


async def _rename(mount: Mount, root: Mount, old: str, new: str, replace: bool) -> None:
    mount.programs.rename(old, new, replace=replace)


async def _open_source(
    mount: Mount, program: SourceProgram, caller: Credentials, flags: int
) -> OpenFile:
    def commit(spool: Spool) -> Awaitable[None]:
        return mount.programs.builds.commit(program, spool.view())

    content = Content(program.source_sha256, program.source_name)
    return await _open_content(mount, content, commit, caller, flags)


async def _open_staged(
    mount: Mount, staged: StagedFile, caller: Credentials, flags: int
) -> OpenFile:
    async def commit(spool: Spool) -> None:
        if staged.program is not None:  # renamed while its writer had it open
            await mount.programs.builds.commit(staged.program, spool.view())
        else:
            await mount.programs.staging.commit(staged, spool.view())

    content = Content(staged.sha256, staged.name)
    return await _open_content(mount, content, commit, caller, flags, plain=True)


@attrs.frozen
class Content:
    """The content of a file in `programs/`.

    Attributes:
        sha256: Its hash in the state directory; empty if there is none.
        filename: The name of the file.
    """

    sha256: str
    filename: str


async def _open_content(
    mount: Mount,
    content: Content,
    commit: CommitBytes,
    caller: Credentials,
    flags: int,
    *,
    plain: bool = False,
) -> OpenFile:
    """Opens a file whose content is in the state directory.

    Raises:
        RunFailed: The content is damaged or lost.
    """
    reads = flags & os.O_ACCMODE == os.O_RDONLY
    path = None
    if content.sha256 and (reads or not flags & os.O_TRUNC):
        path = await mount.programs.builds.intact_source(content.sha256, content.filename)
    if reads:
        return DiskFile(path)
    before = b""
    if path is not None:
        try:
            before = await trio.to_thread.run_sync(path.read_bytes)
        except OSError as error:
            raise RunFailed(f"the state directory has lost {path}: {error}") from error
    spool = mount.calls.admission.spool(caller.uid)
    return UploadFile(spool, commit, flags, lambda: before, plain=plain)


def _staged_xattrs(mount: Mount, staged: StagedFile) -> Mapping[str, str]:
    return {"state": staged.build.state} if staged.build is not None else {}


def _discard(mount: Mount, program: SourceProgram) -> None:
    """Removes a program that never had a source: its writer was killed."""
    if not program.removed and not program.source_sha256 and program.state == "failed":
        mount.programs.remove(program.source_name)


SOURCE = FileSpec[SourceProgram](
    "programs/<program>.<ext>",
    0o666,
    "binary or text",
    "the source, byte for byte (.mlir .mlirbc .jaxexport .pkl; content decides, not the name)",
    open=_open_source,
    size=lambda mount, program: program.source_bytes,
    target=lambda program: program,
    discard=_discard,
    is_primary=True,
)
STAGING = FileSpec[StagedFile](
    "programs/.<name>",
    0o666,
    "binary or text",
    "a staging file: renamed to a program's name, it is the program's source",
    open=_open_staged,
    size=lambda mount, staged: staged.nbytes,
    xattrs=_staged_xattrs,
    settles=True,
    is_primary=True,
)
LINK = SymlinkSpec[Link](
    "programs/<link>",
    "a name for a program that is elsewhere, made with ln -s",
    target=lambda mount, link: link.target,
)

SPECS: tuple[NodeSpec, ...] = (
    DirectorySpec[Mount, Program | Link | StagedFile](
        "programs",
        0o1777,
        "write a program here and it is compiled",
        entries=_list,
        find=_find,
        create=_create,
        symlink=_symlink,
        unlink=lambda mount, entry: mount.programs.remove(entry.name),
        rename=_rename,
    ),
    SOURCE,
    STAGING,
    LINK,
)
