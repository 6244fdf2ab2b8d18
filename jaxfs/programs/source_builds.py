"""Builds of source programs: a source is written or renamed, an option or the device changes.

`Derivations` is the same for programs made from others.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import attrs
import msgspec
import trio

from jaxfs.errors import Cancelled, Invalid, JaxfsError
from jaxfs.programs.build_steps import BuildRequest
from jaxfs.programs.builder import Builder
from jaxfs.programs.compiled import CompiledProgram, ProgramVersion
from jaxfs.programs.derived import Derivations
from jaxfs.programs.program import DerivedProgram, Program, SourceProgram
from jaxfs.programs.program_records import record_of, remember
from jaxfs.programs.single_flight import SingleFlight
from jaxfs.programs.source_check import HEAD_BYTES, check_is_program
from jaxfs.programs.staged_file import StagedBuild
from jaxfs.programs.wanted_version import WantedVersion

log = logging.getLogger(__name__)


class SourceBuilds:
    """Compiles source programs again and installs what works; a failed build changes no version.

    Builds continue when those who wait for them are interrupted.

    Args:
        builder: makes versions.
        derivations: the programs made from programs.
        nursery: must live longer than every build.
        failed: is called with the error of a build that nothing waited for.
    """

    def __init__(
        self,
        builder: Builder,
        derivations: Derivations,
        nursery: trio.Nursery,
        failed: Callable[[SourceProgram, JaxfsError], None],
    ) -> None:
        self._builder = builder
        self._derivations = derivations
        self._nursery = nursery
        self._failed = failed

    async def finish(self, work: Callable[[], Awaitable[None]]) -> None:
        """Waits for work that continues when the wait is interrupted.

        Raises:
            JaxfsError: What the work raised.
        """
        await SingleFlight(self._nursery, work).wait()

    def commit(self, program: SourceProgram, source: bytes | memoryview) -> Awaitable[None]:
        """Compiles ``source``; if that works, it is the program's new version.

        The build has begun when this returns, so that calls wait for it.

        Args:
            program: The program.
            source: Stays as it is until the build has ended.

        Returns:
            What waits for its end; it raises Cancelled if the program was removed or overwritten
            meanwhile, and errors as `Builder.build`.
        """
        number = program.begin_build()
        return self.finish(lambda: self._commit(program, number, source))

    async def _commit(self, program: SourceProgram, number: int, data: bytes | memoryview) -> None:
        outcome: JaxfsError = Cancelled("the compile was interrupted")
        is_written = False
        try:
            if not len(data):
                raise Invalid("the file is empty; write a program to it")
            if len(data) > HEAD_BYTES:  # a short one can be read although it is no program
                check_is_program(bytes(data[:HEAD_BYTES]), len(data))
            async with self._builder.disk.source(program.attr.uid, data) as digest:
                is_written = True
                wanted = WantedVersion(
                    digest, len(data), program.device, program.options, is_written=True
                )
                await self.build(program, number, wanted)
        except JaxfsError as error:
            outcome = error
            raise
        finally:
            if not is_written:
                program.end_build(number, outcome)

    def replace(
        self, program: SourceProgram, wanted: WantedVersion, staged: StagedBuild | None
    ) -> None:
        """Puts a source in the place of the program's, at once; nothing has changed if it raises.

        Args:
            program: Serves its version until the new one is there.
            wanted: The new source.
            staged: The compile that was begun for it, if there is one.

        Raises:
            NoSpace: The disk of the state directory is full.
            RunFailed: The state directory cannot be written.
            JaxfsError: The compile has ended with it.
        """
        if staged is not None and (staged.target, staged.uid) != (wanted.target, wanted.uid):
            staged.scope.cancel()
            staged = None
        outcome = staged.outcome if staged is not None else None
        if isinstance(outcome, JaxfsError) and outcome.is_verdict:
            raise outcome.recorded()
        if outcome is None or isinstance(outcome, JaxfsError):
            self._accept(program, wanted)
            self._start(program, wanted, staged)
            return
        number = program.begin_build()
        try:
            self._install(program, number, wanted, outcome)
        except JaxfsError as error:
            program.end_build(number, error)
            raise

    def _accept(self, program: SourceProgram, wanted: WantedVersion) -> None:
        """Records a source before it is built: it is not lost if the daemon ends meanwhile."""
        if program.is_recorded:
            record = msgspec.structs.replace(record_of(program), pending_sha256=wanted.sha256)
            self._builder.store.put_record(record)
            program.pending_sha256 = wanted.sha256
            self._builder.disk.update(program)
            return
        attr = wanted.attr_for(program)
        self._builder.store.put_record(wanted.record_for(program, attr))
        program.is_recorded, program.error = True, None
        program.pass_to(attr)
        program.source_sha256, program.source_bytes = wanted.sha256, wanted.nbytes
        self._builder.disk.update(program)

    def retry(self, program: SourceProgram) -> None:
        """Begins to build what no build has given a verdict on, as after a full disk."""
        wanted = WantedVersion.again(program)
        if program.pending_sha256:
            wanted = attrs.evolve(wanted, sha256=program.pending_sha256)
        elif not (program.needs_build and program.source_sha256):
            return
        try:
            nbytes = self._builder.store.source_path(wanted.sha256).stat().st_size
        except OSError:  # it is lost: the error of the last build stays
            return
        if not (program.is_building or program.removed):
            self._start(program, attrs.evolve(wanted, nbytes=nbytes))

    def _start(
        self, program: SourceProgram, wanted: WantedVersion, staged: StagedBuild | None = None
    ) -> None:
        held = contextlib.ExitStack()
        held.enter_context(self._keep_source(program, wanted))
        number = program.begin_build()
        self._nursery.start_soon(self._build_unwatched, program, number, wanted, staged, held)

    async def _build_unwatched(
        self,
        program: SourceProgram,
        number: int,
        wanted: WantedVersion,
        staged: StagedBuild | None,
        held: contextlib.ExitStack,
    ) -> None:
        """Builds, and keeps the compile of the staging file going for so long, and ``held``."""
        try:
            with held:
                await self.build(program, number, wanted)
        except JaxfsError as error:
            if not isinstance(error, Cancelled):
                self._failed(program, error)
        except Exception:
            log.exception("internal error while making %s", program.path)
        finally:
            if staged is not None:
                staged.scope.cancel()

    async def set_options(self, program: SourceProgram, options: dict[str, str]) -> None:
        """Compiles the program with other options; the old ones stay if that fails."""
        await self._rebuild(program, program.device, options)

    async def move(self, program: Program, device_name: str) -> None:
        """Lets a program run on another device.

        Raises:
            NoDevice: there is no device of this name.
            Invalid: the program runs on several devices at once.
            JaxfsError: as `Builder.build`.
        """
        is_failed = program.state == "failed"
        if isinstance(program, SourceProgram) and is_failed and program.is_recorded:
            # what it ran on is gone, perhaps
            device = self._builder.device(device_name)
            await self._rebuild(program, device.name, program.options)
            return
        current = await program.wait_compiled()
        if isinstance(current, CompiledProgram) and len(current.devices) > 1:
            if device_name == current.device:
                return
            raise Invalid(f"{program.path} runs on {current.device} at once and cannot be moved")
        device = self._builder.device(device_name)
        if isinstance(program, DerivedProgram):
            program.device = device.name
            self._derivations.outdate(program)
            program.forget()
            self._derivations.start(program)
            await program.wait_compiled()
        elif isinstance(program, SourceProgram):
            if isinstance(current, CompiledProgram) and current.device == device.name:
                program.device = device.name
                remember(self._builder.store, program)
                return
            await self._rebuild(program, device.name, program.options)

    async def _rebuild(
        self, program: SourceProgram, device_name: str, options: Mapping[str, str]
    ) -> None:
        """Compiles the program as it is when the writes under way have ended."""
        while program.is_building:
            await program.changed.wait()
        if not program.source_sha256:
            raise Invalid("the file is empty; write a program to it")
        number = program.begin_build()
        wanted = attrs.evolve(WantedVersion.again(program), device=device_name, options=options)
        await self.finish(lambda: self.build(program, number, wanted))

    async def build(self, program: SourceProgram, number: int, wanted: WantedVersion) -> None:
        """Runs one build to its end.

        Args:
            program: gets the version, or the error.
            number: of the build, from `Program.begin_build`; it has ended when this returns.
            wanted: what to build.
        """
        has_ended = False
        try:
            with self._keep_source(program, wanted):
                version = await program.run_build(
                    number, wanted.target, lambda: self._make(program, wanted)
                )
                if program.removed:
                    raise Cancelled(f"{program.path} was removed meanwhile, while it compiled")
                if version is not None:
                    self._install(program, number, wanted, version)
                    has_ended = True
        except JaxfsError as error:
            program.end_build(number, error)
            has_ended = True
            self._note_failure(program, wanted, error)
            raise
        finally:
            if not has_ended:
                program.end_build(number, Cancelled("the compile was interrupted"))

    def _keep_source(
        self, program: SourceProgram, wanted: WantedVersion
    ) -> contextlib.AbstractContextManager[None]:
        owner, path = wanted.owner or program.attr, self._builder.store.source_path(wanted.sha256)
        return self._builder.disk.using(owner.uid, path)

    async def _make(self, program: SourceProgram, wanted: WantedVersion) -> ProgramVersion:
        owner = wanted.owner or program.attr
        request = BuildRequest(wanted.target.build_key, (owner.uid, owner.gid), program.name)
        return await self._builder.build(request, self._builder.device(wanted.device))

    def _install(
        self, program: SourceProgram, number: int, wanted: WantedVersion, version: ProgramVersion
    ) -> None:
        """Makes a version the current one, unless a younger build has made that.

        The record is written first: what serves is there after a remount.
        """
        if not program.is_latest(number):
            program.end_build(number, version)
            return
        attr, pending = wanted.attr_for(program), wanted.pending_after(program)
        self._builder.store.put_record(wanted.record_for(program, attr))
        program.end_build(number, version)
        if wanted.sha256 != program.source_sha256:
            program.kept_specializations = []
        program.is_recorded, program.pending_sha256 = True, pending
        program.pass_to(attr)
        program.device, program.options = wanted.device, dict(wanted.options)
        program.source_sha256, program.source_bytes = wanted.sha256, wanted.nbytes
        self._builder.disk.update(program)
        self._derivations.outdate(program)
        self._derivations.recall_kept(program)

    def _note_failure(
        self, program: SourceProgram, wanted: WantedVersion, error: JaxfsError
    ) -> None:
        """Shows the source of a program that never worked; drops one that is known to be bad."""
        if program.current is None and not program.is_recorded and not program.removed:
            program.source_sha256, program.source_bytes = wanted.sha256, wanted.nbytes
            program.attr.touch()
        if error.is_verdict and program.pending_sha256 == wanted.sha256:
            program.pending_sha256 = ""
        self._builder.disk.update(program)
        try:
            remember(self._builder.store, program)
        except JaxfsError as failure:
            log.warning("%s may not be there after a remount: %s", program.path, failure)
        if error.is_verdict and program.pending_sha256:  # a bad write has ended its build
            self.retry(program)

    async def intact_source(self, digest: str, filename: str) -> Path:
        """Returns the file with a content of ``programs/``, after a look at its checksum.

        Args:
            digest: The hash of the content.
            filename: The file that has it, for the reason.

        Raises:
            RunFailed: It is damaged or gone.
        """
        store = self._builder.store
        await store.off_loop(store.check_source, digest, filename)
        return store.source_path(digest)

    async def intact(self, compiled: CompiledProgram, path: Path) -> Path:
        """Returns a file of a version, which is made again if it is damaged.

        Raises:
            JaxfsError: It is damaged, and cannot be made again.
        """
        return await self._builder.repairs.intact(compiled, path)

    async def draw(self, program: Program, compiled: CompiledProgram) -> Path:
        """Returns the file of a picture of the program, drawn at the first call.

        Raises:
            NotSupported: The program cannot be drawn.
            NoSpace: The disk of the state directory is full.
            TimedOut: Drawing took too long.
            RunFailed: Drawing failed for another reason.
        """
        return await self._builder.draw(BuildRequest.of(program), compiled)
