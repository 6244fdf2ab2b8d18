"""Staging files: files with names that programs cannot have, stored as they are.

Editors, rsync and ``tmp=$(mktemp) ... mv`` write a file under such a name and rename it onto the
real one.  What looks like a program is compiled when it is closed, so that the rename has little
to wait for: the kernel locks the whole directory during a rename.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import trio

from jaxfs.errors import Invalid, JaxfsError, RunFailed
from jaxfs.posix.credentials import InodeAttr
from jaxfs.programs import names
from jaxfs.programs.build_key import BuildKey
from jaxfs.programs.build_steps import BuildRequest
from jaxfs.programs.builder import Builder
from jaxfs.programs.program_records import check_staged
from jaxfs.programs.program_versions import BuildTarget
from jaxfs.programs.source_check import HEAD_BYTES, check_is_program
from jaxfs.programs.staged_file import StagedBuild, StagedFile
from jaxfs.programs.stored_records import StagedRecord
from jaxfs.quotas import Quotas

log = logging.getLogger(__name__)


class StagingFiles:
    """The staging files of a mount, by name; they outlive the daemon.

    Args:
        builder: Compiles what looks like a program.
        quotas: What each user may cost.
        nursery: Must live longer than every compile.
    """

    def __init__(self, builder: Builder, quotas: Quotas, nursery: trio.Nursery) -> None:
        self._builder = builder
        self._store = builder.store
        self._disk = builder.disk
        self._quotas = quotas
        self._nursery = nursery
        self._files: dict[str, StagedFile] = {}
        for record in self._store.staged():
            try:
                check_staged(record)
            except JaxfsError as error:
                path = self._store.record_path("staging", record.name)
                self._store.skip(path, error.reason)
                continue
            attr = InodeAttr(record.uid, record.gid, record.mode, mtime_ns=record.mtime_ns)
            nbytes = record.nbytes if self._store.source_path(record.sha256).exists() else 0
            digest = record.sha256 if nbytes else ""
            file = self._files[record.name] = StagedFile(record.name, attr, digest, nbytes)
            file.charge(quotas, force=True)
            self._disk.update(file)

    def __iter__(self) -> Iterator[StagedFile]:
        return iter(tuple(self._files.values()))

    def get(self, name: str) -> StagedFile | None:
        """Returns the file of this name."""
        return self._files.get(name)

    def create(self, name: str, attr: InodeAttr) -> StagedFile:
        """Returns an empty file of a name, or the one that is there.

        Raises:
            Invalid: It is no name.
            NameTooLong: The name is too long.
            OverQuota: The user has too many staging files.
        """
        found = self._files.get(names.check(name))
        if found is None:
            found = StagedFile(name, attr)
            found.charge(self._quotas)
            self._files[name] = found
        return found

    def put(self, file: StagedFile) -> None:
        """Adds a file, instead of one of the same name.

        Raises:
            OverQuota: The user has too many staging files.
            NoSpace: The disk of the state directory is full.
            RunFailed: The state directory cannot be written.
        """
        file.charge(self._quotas)
        try:
            self._put_record(file)
        except JaxfsError:
            file.drop(ends_build=True)
            raise
        self._disk.update(file)
        self._replace(file)

    async def commit(self, file: StagedFile, data: bytes | memoryview) -> None:
        """Gives a file another content, and begins to compile what looks like a program.

        Raises:
            OverQuota: The user has too much on the disk; the content stays as it was.
            NoSpace: The disk of the state directory is full.
            RunFailed: The state directory cannot be written.
        """
        if file.place is None:  # its name is gone
            return
        if not len(data):
            self._set_content(file, "", data)
            return
        async with self._disk.source(file.attr.uid, data) as digest:
            self._set_content(file, digest, data)

    def _set_content(self, file: StagedFile, digest: str, data: bytes | memoryview) -> None:
        before = file.sha256, file.nbytes
        file.sha256, file.nbytes = digest, len(data)
        file.attr.touch()
        try:
            self.remember(file)
        except JaxfsError:
            file.sha256, file.nbytes = before
            raise
        if file.place is not None and (before[0] != digest or file.build is None):
            self._compile(file, bytes(data[:HEAD_BYTES]))
        self._disk.update(file)

    def remember(self, file: StagedFile) -> None:
        """Writes the file's record, for the next mount, unless it was removed.

        Its owner may be another one: that one is charged from now on.

        Raises:
            NoSpace: The disk of the state directory is full.
            RunFailed: The state directory cannot be written.
        """
        if self._files.get(file.name) is file:
            self._put_record(file)
            if file.place is not None:
                file.place.move(file.attr.uid)
            self._disk.update(file)

    def _put_record(self, file: StagedFile) -> None:
        attr = file.attr
        record = StagedRecord(
            file.name, file.sha256, file.nbytes, attr.uid, attr.gid, attr.mode, attr.mtime_ns
        )
        self._store.put_staged(record)

    def rename(self, file: StagedFile, name: str) -> None:
        """Gives a file another staging name, and replaces a file that has it.

        Raises:
            NoSpace: The disk of the state directory is full.
            RunFailed: The state directory cannot be written.
        """
        old, file.name = file.name, name
        try:
            self._put_record(file)
        except JaxfsError:
            file.name = old
            raise
        self._store.drop_staged(old)
        del self._files[old]
        self._replace(file)

    def remove(self, file: StagedFile) -> None:
        """Removes a file and ends its compile."""
        self._store.drop_staged(file.name)
        del self._files[file.name]
        self._end(file, ends_build=True)

    def forget(self, file: StagedFile) -> None:
        """Removes a file that has become a program, which needs its compile."""
        self._store.drop_staged(file.name)
        del self._files[file.name]
        self._end(file, ends_build=False)

    def content(self, file: StagedFile) -> Path | None:
        """Returns the file of the state directory with the content; None if it is empty."""
        return self._store.source_path(file.sha256) if file.sha256 else None

    def check_is_program(self, file: StagedFile) -> None:
        """Checks that a file may be a program.

        Raises:
            Invalid: It is none.
            RunFailed: Its content cannot be read.
        """
        path, head = self.content(file), b""
        try:
            if path is not None:
                with path.open("rb") as content:
                    head = content.read(HEAD_BYTES)
        except OSError as error:
            raise RunFailed(f"the content of programs/{file.name} is gone: {error}") from error
        check_is_program(head, file.nbytes)

    def _replace(self, file: StagedFile) -> None:
        other = self._files.get(file.name)
        self._files[file.name] = file
        if other is not None and other is not file:
            self._end(other, ends_build=True)

    def _end(self, file: StagedFile, *, ends_build: bool) -> None:
        """Ends what a file costs: its name is gone."""
        file.drop(ends_build=ends_build)
        self._disk.drop(file)

    def _compile(self, file: StagedFile, head: bytes) -> None:
        if file.build is not None:
            file.build.scope.cancel()
            file.build = None
        try:
            check_is_program(head, file.nbytes)
        except Invalid:  # the rename reports it
            return
        file.build = StagedBuild(BuildTarget(BuildKey(file.sha256), ""), file.attr.uid)
        request = BuildRequest(
            file.build.target.build_key, (file.attr.uid, file.attr.gid), file.name
        )
        self._nursery.start_soon(self._build, file, file.build, request)

    async def _build(self, file: StagedFile, build: StagedBuild, request: BuildRequest) -> None:
        try:
            with build.scope:
                device = self._builder.device(build.target.device)
                build.outcome = await self._builder.build(request, device)
        except JaxfsError as error:
            build.outcome = error.recorded()
        except Exception as error:
            log.exception("internal error while compiling programs/%s", request.program)
            build.outcome = RunFailed(f"internal error: {error!r}")
        if file.build is build:
            self._disk.update(file)
