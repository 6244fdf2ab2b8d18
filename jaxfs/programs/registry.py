"""All programs of a mount, by name, and the files waiting to become programs."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import trio

from jaxfs.errors import BrokenProgram, Cancelled, JaxfsError, NameTaken, NotFound, RunFailed
from jaxfs.outlive import Work
from jaxfs.ownership import Meta
from jaxfs.programs import names
from jaxfs.programs.builder import Builder, aside
from jaxfs.programs.program import Program, Staged
from jaxfs.programs.store import Record, sha256

log = logging.getLogger(__name__)


class Programs:
    """Create, commit, rename, move and remove programs; all that is there outlives the daemon."""

    def __init__(self, builder: Builder, nursery: trio.Nursery) -> None:
        self._builder = builder
        self._nursery = nursery
        self._programs: dict[str, Program] = {}
        self._staged: dict[str, Staged] = {}

    def __iter__(self) -> Iterator[Program]:
        return iter(tuple(self._programs.values()))

    def __len__(self) -> int:
        return len(self._programs)

    def get(self, name: str) -> Program | None:
        """The program called ``name``."""
        return self._programs.get(name)

    def staged(self) -> tuple[Staged, ...]:
        """Files whose names begin with a dot."""
        return tuple(self._staged.values())

    def find_file(self, filename: str) -> Program | Staged | None:
        """What stands at ``programs/<filename>``, source or staging file."""
        if names.is_staging(filename):
            return self._staged.get(filename)
        program = self._programs.get(filename.rpartition(".")[0])
        return program if program is not None and program.source_name == filename else None

    def restore(self) -> None:
        """Bring the programs of the state directory back; what has to compile does so behind."""
        for record in self._builder.store.records():
            self._restore(record)
        used = {program.source_sha256 for program in self}
        self._builder.store.drop_unused_sources(used)

    def _restore(self, record: Record) -> None:
        meta = Meta(record.uid, record.gid, record.mode, mtime_ns=record.mtime_ns)
        program = Program(
            record.name, record.extension, meta, device=record.device, modes=dict(record.modes)
        )
        program.source_sha256 = record.sha256
        self._programs[record.name] = program
        number = program.begin_build()
        try:
            program.source_bytes = self._builder.store.source_path(record.sha256).stat().st_size
            device = self._builder.device(program.device)
            version = self._builder.recall(record.sha256, device)
        except JaxfsError as error:
            program.end_build(number, error)
            return
        except OSError as error:
            program.end_build(number, BrokenProgram(f"its source is gone: {error}"))
            return
        if version is not None:
            program.end_build(number, version)
        else:
            self._nursery.start_soon(self._rebuild, program, number)

    async def _rebuild(self, program: Program, number: int) -> None:
        try:
            source = self._builder.store.source_path(program.source_sha256).read_bytes()
            await self._build(program, number, source, program.device)
        except (JaxfsError, OSError) as error:
            log.warning("programs/%s did not compile again: %s", program.name, error)

    def create(self, filename: str, meta: Meta) -> Program | Staged:
        """A new, empty file.  Raises Invalid, NameTaken."""
        names.check(filename)
        if names.is_staging(filename):
            staged = self._staged[filename] = Staged(filename, meta)
            return staged
        name, extension = names.split_source(filename)
        self._refuse_twin(name, extension)
        program = self._programs[name] = Program(name, extension, meta)
        return program

    def _refuse_twin(self, name: str, extension: str, renamed: Program | None = None) -> None:
        twin = self._programs.get(name)
        if twin is not None and twin is not renamed and twin.extension != extension:
            raise NameTaken(
                f"programs/{name} is made from {twin.source_name}; remove that first, "
                f"or write to it: the content decides what it is, not the name"
            )

    async def commit(self, program: Program, source: bytes | memoryview) -> None:
        """Compile ``source`` and let the program serve it.

        Raises what the compile raises; the version that served before then still does.
        """
        number = program.begin_build()
        kept = bytes(source)  # the writer may be gone before the compile is done
        await self._outlive(lambda: self._build(program, number, kept, program.device))

    async def _outlive(self, do: Callable[[], Awaitable[None]]) -> None:
        """Wait for work that goes on when the wait is interrupted."""
        await Work(self._nursery, do).wait()

    async def _build(
        self,
        program: Program,
        number: int,
        source: bytes | memoryview,
        device_name: str,
        *,
        shows_failed: bool = True,
    ) -> None:
        ended = False
        try:
            device = self._builder.device(device_name)
            version = await self._builder.build(source, device)
            if program.removed:
                raise Cancelled(f"programs/{program.source_name} was removed meanwhile")
            ended = True
            if program.end_build(number, version):
                program.device = device_name
                self._note_source(program, version.sha256, len(source))
                self.remember(program)
        except JaxfsError as error:
            if not ended:
                ended = True
                if shows_failed:
                    await self._keep_failed(program, source)
                program.end_build(number, error)
            raise
        finally:
            if not ended:  # interrupted, or a bug
                program.end_build(number, Cancelled("the compile was interrupted"))

    def _note_source(self, program: Program, digest: str, nbytes: int) -> None:
        if program.source_sha256 != digest:
            program.source_sha256, program.source_bytes = digest, nbytes
            program.meta.touch()

    async def _keep_failed(self, program: Program, source: bytes | memoryview) -> None:
        """Show what was written, where no version that works would be hidden by it."""
        if program.version is None:
            self._note_source(program, await aside(sha256, source), len(source))

    def remember(self, program: Program) -> None:
        """Write the program's record, if there is anything to come back to."""
        if program.version is None or program.removed:
            return
        self._builder.store.put_record(
            Record(
                name=program.name,
                extension=program.extension,
                sha256=program.source_sha256,
                uid=program.meta.uid,
                gid=program.meta.gid,
                mode=program.meta.mode,
                mtime_ns=program.meta.mtime_ns,
                device=program.device,
                modes=program.modes,
            )
        )

    async def move(self, program: Program, device_name: str) -> None:
        """Let a program run on another device.  Raises NoDevice, BrokenProgram ..."""
        device = self._builder.device(device_name)
        version = await program.serving()
        if version.device == device.name:
            program.device = device.name
            self.remember(program)
            return
        source, number = self.read_source(program), program.begin_build()
        await self._outlive(lambda: self._build(program, number, source, device.name))

    def source_path(self, program: Program) -> Path | None:
        """Where the source stands; None where nothing was written yet."""
        digest = program.source_sha256
        path = self._builder.store.source_path(digest) if digest else None
        return path if path is not None and path.exists() else None

    def read_source(self, program: Program) -> bytes:
        """The source, byte for byte; empty where nothing was written yet."""
        path = self.source_path(program)
        try:
            return path.read_bytes() if path else b""
        except OSError as error:
            raise RunFailed(f"the source of programs/{program.name} is gone: {error}") from error

    def remove(self, filename: str) -> None:
        """Remove a source, and its program with it; calls in flight finish."""
        found = self.find_file(filename)
        if found is None:
            raise NotFound(f"there is no programs/{filename}")
        if isinstance(found, Staged):
            del self._staged[filename]
            return
        self._forget(found)

    def _forget(self, program: Program) -> None:
        program.removed = True
        del self._programs[program.name]
        self._builder.store.drop_record(program.name)

    async def rename(self, old: str, new: str, *, replace: bool = True) -> None:
        """As rename(2).  A staging file that gets a program's name is compiled first.

        Raises NotFound, NameTaken, Invalid and whatever the compile raises; then nothing changed.
        """
        found = self.find_file(old)
        if found is None:
            raise NotFound(f"there is no programs/{old}")
        if not replace and self.find_file(new) is not None:
            raise NameTaken(f"programs/{new} is there already")
        if old == new:
            return
        if isinstance(found, Staged):
            staged = found
            await self._outlive(lambda: self._rename_staged(staged, new))
        elif names.is_staging(new):
            self._rename_to_staged(found, new)
        else:
            self._rename_program(found, new)

    async def _rename_staged(self, staged: Staged, new: str) -> None:
        if names.is_staging(names.check(new)):
            self._drop_staged(staged)
            staged.name = new
            self._staged[new] = staged
            return
        program = self.find_file(new)
        fresh = not isinstance(program, Program)
        if fresh:
            program = self.create(new, staged.meta)
        assert isinstance(program, Program)
        try:
            number, device = program.begin_build(), program.device
            await self._build(program, number, staged.data, device, shows_failed=False)
        except BaseException:
            if fresh and not program.removed:
                self._forget(program)
            raise
        program.meta = staged.meta
        self.remember(program)
        self._drop_staged(staged)

    def _drop_staged(self, staged: Staged) -> None:
        """The name may be another file's by now: a compile takes its time."""
        if self._staged.get(staged.name) is staged:
            del self._staged[staged.name]

    def _rename_to_staged(self, program: Program, new: str) -> None:
        names.check(new)
        self._staged[new] = Staged(new, program.meta, self.read_source(program))
        self._forget(program)

    def _rename_program(self, program: Program, new: str) -> None:
        name, extension = names.split_source(new)
        self._refuse_twin(name, extension, program)
        other = self._programs.get(name)
        if other is not None and other is not program:
            self._forget(other)
        del self._programs[program.name]
        self._builder.store.drop_record(program.name)
        program.name, program.extension = name, extension
        self._programs[name] = program
        self.remember(program)
