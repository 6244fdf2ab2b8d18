"""All programs of a mount, by name, and the files waiting to become programs."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import trio

from jaxfs.errors import (
    BrokenProgram,
    Cancelled,
    Invalid,
    JaxfsError,
    NameTaken,
    NotFound,
    RunFailed,
)
from jaxfs.posix.credentials import InodeAttr
from jaxfs.programs import names
from jaxfs.programs.build_key import BuildKey
from jaxfs.programs.builder import Author, Builder, aside
from jaxfs.programs.compiled import CompiledProgram
from jaxfs.programs.derived import Derivations
from jaxfs.programs.links import Link, Links
from jaxfs.programs.program import DerivedProgram, Program, SourceProgram, StagedFile, root_of
from jaxfs.programs.single_flight import SingleFlight
from jaxfs.programs.store import ProgramRecord, sha256
from jaxfs.types.avals import parse_aval

MAX_LINKS = 40  # one behind the other, as the kernel follows
log = logging.getLogger(__name__)


class Programs:
    """Create, commit, rename, move and remove programs; all that is there outlives the daemon."""

    def __init__(self, builder: Builder, nursery: trio.Nursery) -> None:
        self._builder = builder
        self._nursery = nursery
        self.jobs = builder.jobs
        self.derivations = Derivations(builder, self.remember, nursery)
        self.links = Links(builder.store)
        self._programs: dict[str, SourceProgram] = {}
        self._staged: dict[str, StagedFile] = {}

    def __iter__(self) -> Iterator[SourceProgram]:
        return iter(tuple(self._programs.values()))

    def __len__(self) -> int:
        return len(self._programs)

    def get(self, name: str) -> SourceProgram | None:
        """The program called ``name``."""
        return self._programs.get(name)

    def staged(self) -> tuple[StagedFile, ...]:
        """Files whose names begin with a dot."""
        return tuple(self._staged.values())

    def find_file(self, filename: str) -> SourceProgram | StagedFile | None:
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

    def _restore(self, record: ProgramRecord) -> None:
        meta = InodeAttr(record.uid, record.gid, record.mode, mtime_ns=record.mtime_ns)
        program = SourceProgram(
            name=record.name,
            extension=record.extension,
            owner=meta,
            device=record.device,
            modes=dict(record.modes),
            options=dict(record.options),
            source_sha256=record.sha256,
            kept_bindings=list(record.bindings),
        )
        self._programs[record.name] = program
        number = program.begin_build()
        try:
            program.source_bytes = self._builder.store.source_path(record.sha256).stat().st_size
            device = self._builder.device(program.device)
            version = self._builder.recall(program.build_key, device)
        except JaxfsError as error:
            program.end_build(number, error)
            return
        except OSError as error:
            program.end_build(number, BrokenProgram(f"its source is gone: {error}"))
            return
        if version is not None:
            program.end_build(number, version)
            self._restore_derived(program, record)
        else:
            self._nursery.start_soon(self._rebuild, program, number, record)

    def _restore_derived(self, program: SourceProgram, record: ProgramRecord) -> None:
        for steps in record.transformed:
            with suppress(JaxfsError):  # of another version of jaxfs
                self.derivations.recall(program, tuple(steps), None)
        for types in record.specializations:
            with suppress(JaxfsError):
                avals = tuple(parse_aval(text) for text in types)
                self.derivations.recall(program, (), avals)

    async def _rebuild(self, program: SourceProgram, number: int, record: ProgramRecord) -> None:
        try:
            source = self._builder.store.source_path(program.source_sha256).read_bytes()
            await self._build(program, number, source, program.device)
            if program.source_sha256 == record.sha256:  # not overwritten meanwhile
                self._restore_derived(program, record)
                self.remember(program)  # the build wrote a record without them
        except (JaxfsError, OSError) as error:
            log.warning("programs/%s did not compile again: %s", program.name, error)

    def create(self, filename: str, meta: InodeAttr) -> SourceProgram | StagedFile:
        """A new, empty file.  Raises Invalid, NameTaken."""
        names.check(filename)
        if names.is_staging(filename):
            staged = self._staged[filename] = StagedFile(filename, meta)
            return staged
        name, extension = names.split_source(filename)
        self._refuse_twin(name, extension)
        program = self._programs[name] = SourceProgram(name=name, extension=extension, owner=meta)
        return program

    def link(self, name: str, target: str, meta: InodeAttr) -> Link:
        """As symlink(2).  Raises Invalid, NameTaken."""
        if self.get(name) is not None or self.find_file(name) is not None:
            raise NameTaken(f"programs/{name} is there already")
        if name in names.RESERVED:
            raise Invalid(f"{name!r} is the name of a transformation; choose another one")
        return self.links.create(name, target, meta)

    def resolve(self, name: str) -> tuple[SourceProgram, tuple[str, ...]] | None:
        """The program and the transformations that a name stands for, through links."""
        steps: tuple[str, ...] = ()
        for _ in range(MAX_LINKS):
            program, link = self.get(name), self.links.get(name)
            if program is not None:
                return program, steps
            place, *between, name = link.leads_to() if link else ("", "")
            if place == "transformations":
                steps = (*steps, *between)
            elif place != "programs" or between:
                return None
        return None

    def _refuse_twin(self, name: str, extension: str, renamed: SourceProgram | None = None) -> None:
        if self.links.get(name) is not None:
            raise NameTaken(f"programs/{name} is a link; remove it first")
        twin = self._programs.get(name)
        if twin is not None and twin is not renamed and twin.extension != extension:
            raise NameTaken(
                f"programs/{name} is made from {twin.source_name}; remove that first, "
                f"or write to it: the content decides what it is, not the name"
            )

    async def commit(self, program: SourceProgram, source: bytes | memoryview) -> None:
        """Compile ``source`` and let the program serve it.

        Raises what the compile raises; the version that served before then still does.
        """
        number = program.begin_build()
        kept = bytes(source)  # the writer may be gone before the compile is done
        await self._outlive(
            lambda: self._build(program, number, kept, program.device, is_written=True)
        )

    async def _outlive(self, do: Callable[[], Awaitable[None]]) -> None:
        """Wait for work that goes on when the wait is interrupted."""
        await SingleFlight(self._nursery, do).wait()

    async def _build(
        self,
        program: SourceProgram,
        number: int,
        source: bytes | memoryview,
        device_name: str,
        *,
        shows_failed: bool = True,
        is_written: bool = False,
    ) -> None:
        ended = False
        try:
            if not len(source):
                raise Invalid("the file is empty; write a program to it")
            digest = await aside(self._builder.store.put_source, source)
            recipe = BuildKey(digest, tuple(sorted(program.options.items())))
            program.building = recipe
            device = self._builder.device(device_name)
            made = await self._builder.build(recipe, device, Author.of(program))
            if program.removed:
                raise Cancelled(f"programs/{program.source_name} was removed meanwhile")
            ended = True
            if program.end_build(number, made):
                program.device = device_name
                self._note_source(program, digest, len(source))
                if is_written:
                    program.meta.touch()  # also where it was the same: make(1) goes by the time
                self.derivations.outdate(program)
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

    def _note_source(self, program: SourceProgram, digest: str, nbytes: int) -> None:
        if program.source_sha256 != digest:
            program.source_sha256, program.source_bytes = digest, nbytes
            program.meta.touch()

    async def _keep_failed(self, program: SourceProgram, source: bytes | memoryview) -> None:
        """Show what was written, where no version that works would be hidden by it."""
        if program.current is None:
            self._note_source(program, await aside(sha256, source), len(source))

    def remember(self, program: SourceProgram) -> None:
        """Write the program's record, if there is anything to come back to."""
        if program.current is None or program.removed:
            return
        self._builder.store.put_record(
            ProgramRecord(
                name=program.name,
                extension=program.extension,
                sha256=program.source_sha256,
                uid=program.meta.uid,
                gid=program.meta.gid,
                mode=program.meta.mode,
                mtime_ns=program.meta.mtime_ns,
                device=program.device,
                modes=program.modes,
                options=program.options,
                transformed=[list(steps) for steps in program.transformed],
                specializations=[list(map(str, types)) for types in program.specializations],
                bindings=program.bindings(),
            )
        )

    async def move(self, program: Program, device_name: str) -> None:
        """Let a program run on another device.  Raises NoDevice, BrokenProgram ..."""
        served = await program.wait_compiled()
        if isinstance(served, CompiledProgram) and len(served.devices) > 1:
            if device_name == served.device:
                return
            raise Invalid(f"{program.path} runs on {served.device} at once and cannot be moved")
        device = self._builder.device(device_name)
        if isinstance(program, DerivedProgram):
            program.device = device.name
            self.derivations.outdate(program)
            program.forget()
            self.derivations.start(program)
            await program.wait_compiled()
        elif isinstance(program, SourceProgram):
            if isinstance(served, CompiledProgram) and served.device == device.name:
                program.device = device.name
                self.remember(program)
                return
            await self._again(program, device.name)

    async def set_options(self, program: SourceProgram, options: dict[str, str]) -> None:
        """Trace and compile a program again with other options; the old ones stay if it fails."""
        before, program.options = program.options, options
        try:
            await self._again(program, program.device)
        except BaseException:
            program.options = before
            raise

    async def _again(self, program: SourceProgram, device_name: str) -> None:
        source, number = self.read_source(program), program.begin_build()
        await self._outlive(lambda: self._build(program, number, source, device_name))

    def source_path(self, program: SourceProgram) -> Path | None:
        """Where the source stands; None where nothing was written yet."""
        digest = program.source_sha256
        path = self._builder.store.source_path(digest) if digest else None
        return path if path is not None and path.exists() else None

    async def draw(self, program: Program, version: CompiledProgram) -> Path:
        """A version as a picture.  Raises NotSupported, NoSpace ..."""
        return await self._builder.draw(program.build_key, version, Author.of(root_of(program)))

    def read_source(self, program: SourceProgram) -> bytes:
        """The source, byte for byte; empty where nothing was written yet."""
        path = self.source_path(program)
        try:
            return path.read_bytes() if path else b""
        except OSError as error:
            raise RunFailed(f"the source of programs/{program.name} is gone: {error}") from error

    def remove(self, filename: str) -> None:
        """Remove a source, and its program with it; calls in flight finish."""
        link = self.links.get(filename)
        if link is not None:
            self.links.remove(link)
            return
        found = self.find_file(filename)
        if found is None:
            raise NotFound(f"there is no programs/{filename}")
        if isinstance(found, StagedFile):
            del self._staged[filename]
            return
        self._forget(found)

    def _forget(self, program: SourceProgram) -> None:
        program.is_removed = True
        program.drop_inputs()
        del self._programs[program.name]
        self._builder.store.drop_record(program.name)

    async def rename(self, old: str, new: str, *, replace: bool = True) -> None:
        """As rename(2).  A staging file that gets a program's name is compiled first.

        Raises NotFound, NameTaken, Invalid and whatever the compile raises; then nothing changed.
        """
        link = self.links.get(old)
        if link is not None:
            self._rename_link(link, new, replace=replace)
            return
        found = self.find_file(old)
        if found is None:
            raise NotFound(f"there is no programs/{old}")
        if not replace and self.find_file(new) is not None:
            raise NameTaken(f"programs/{new} is there already")
        if old == new:
            return
        if isinstance(found, StagedFile):
            staged = found
            await self._outlive(lambda: self._rename_staged(staged, new))
        elif names.is_staging(new):
            self._rename_to_staged(found, new)
        else:
            self._rename_program(found, new)

    def _rename_link(self, link: Link, new: str, *, replace: bool) -> None:
        is_taken = self.get(new) is not None or self.find_file(new) is not None
        if is_taken or (not replace and self.links.get(new) is not None):
            raise NameTaken(f"programs/{new} is there already")
        if link.name != new:
            self.links.rename(link, new)

    async def _rename_staged(self, staged: StagedFile, new: str) -> None:
        if names.is_staging(names.check(new)):
            self._drop_staged(staged)
            staged.name = new
            self._staged[new] = staged
            return
        program = self.find_file(new)
        fresh = not isinstance(program, SourceProgram)
        if fresh:
            program = self.create(new, staged.meta)
        assert isinstance(program, SourceProgram)
        try:
            number, device = program.begin_build(), program.device
            await self._build(program, number, staged.data, device, shows_failed=False)
        except BaseException:
            if fresh and not program.removed:
                self._forget(program)
            raise
        program.owner = staged.meta
        self.remember(program)
        self._drop_staged(staged)

    def _drop_staged(self, staged: StagedFile) -> None:
        """The name may be another file's by now: a compile takes its time."""
        if self._staged.get(staged.name) is staged:
            del self._staged[staged.name]

    def _rename_to_staged(self, program: SourceProgram, new: str) -> None:
        names.check(new)
        self._staged[new] = StagedFile(new, program.meta, self.read_source(program))
        self._forget(program)

    def _rename_program(self, program: SourceProgram, new: str) -> None:
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
