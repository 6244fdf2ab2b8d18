"""Builds of source programs: a source is written, an option or the device changes.

`Derivations` is the same for programs made from others.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import attrs
import trio

from jaxfs.errors import Cancelled, Invalid, JaxfsError, RunFailed
from jaxfs.programs.build_steps import BuildRequest
from jaxfs.programs.builder import Builder
from jaxfs.programs.compiled import CompiledProgram, ProgramVersion
from jaxfs.programs.derived import Derivations
from jaxfs.programs.program import DerivedProgram, Program, SourceProgram
from jaxfs.programs.program_records import remember
from jaxfs.programs.single_flight import SingleFlight
from jaxfs.programs.store import sha256

THREAD_BYTES = 1 << 20


class SourceBuilds:
    """Compiles source programs again and installs what works; a failed build changes no version.

    Builds continue when those who wait for them are interrupted.
    """

    def __init__(self, builder: Builder, derivations: Derivations, nursery: trio.Nursery) -> None:
        self._builder = builder
        self._derivations = derivations
        self._nursery = nursery

    async def finish(self, work: Callable[[], Awaitable[None]]) -> None:
        """Waits for work that continues when the wait is interrupted.

        Raises:
            JaxfsError: What the work raised.
        """
        await SingleFlight(self._nursery, work).wait()

    def commit(self, program: SourceProgram, source: bytes | memoryview) -> Awaitable[None]:
        """Compiles ``source``; if that works, it is the program's new version.

        The build has begun when this returns, so that calls wait for it.

        Returns:
            What waits for its end; it raises Cancelled if the program was removed meanwhile, and
            errors as `Builder.build`.
        """
        number = program.begin_build()
        data = bytes(source)  # the writer may be gone before the compile is done
        return self.finish(
            lambda: self.build(program, number, data, program.device, is_written=True)
        )

    async def set_options(self, program: SourceProgram, options: dict[str, str]) -> None:
        """Compiles the program with other options; the old ones stay if that fails."""
        before, program.options = program.options, options
        try:
            await self._rebuild(program, program.device)
        except BaseException:
            program.options = before
            raise

    async def move(self, program: Program, device_name: str) -> None:
        """Lets a program run on another device.

        Raises:
            NoDevice: there is no device of this name.
            Invalid: the program runs on several devices at once.
            JaxfsError: as `Builder.build`.
        """
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
            await self._rebuild(program, device.name)

    async def _rebuild(self, program: SourceProgram, device_name: str) -> None:
        source, number = self.read_source(program), program.begin_build()
        await self.finish(lambda: self.build(program, number, source, device_name))

    async def build(
        self,
        program: SourceProgram,
        number: int,
        source: bytes | memoryview,
        device_name: str,
        *,
        shows_failed: bool = True,
        is_written: bool = False,
    ) -> None:
        """Runs one build to its end.

        Args:
            program: gets the version, or the error.
            number: of the build, from `Program.begin_build`; it has ended when this returns.
            source: the program as it was written.
            device_name: the program's device if the build works.
            shows_failed: whether the source can be read although it did not compile.
            is_written: whether a user wrote the source: its time of modification changes even if
                its content does not, because make(1) compares times.
        """
        outcome: ProgramVersion | JaxfsError = Cancelled("the compile was interrupted")
        digest = ""
        try:
            digest, outcome = await self._make(program, source, device_name)
        except JaxfsError as error:
            outcome = error
            if shows_failed and program.current is None:  # else it would hide one that works
                _note_source(program, await _off_loop(sha256, source), len(source))
            raise
        finally:
            is_current = program.end_build(number, outcome)
        if is_current:
            program.device = device_name
            _note_source(program, digest, len(source))
            if is_written:
                program.attr.touch()
            self._derivations.outdate(program)
            remember(self._builder.store, program)

    async def _make(
        self, program: SourceProgram, source: bytes | memoryview, device_name: str
    ) -> tuple[str, ProgramVersion]:
        """Returns the source's hash and the version that it gives."""
        if not len(source):
            raise Invalid("the file is empty; write a program to it")
        digest = await _off_loop(self._builder.store.put_source, source)
        build_key = attrs.evolve(program.build_key, source_sha256=digest)
        program.building = build_key
        device = self._builder.device(device_name)
        version = await self._builder.build(BuildRequest.of(program, build_key), device)
        if program.removed:
            raise Cancelled(f"programs/{program.source_name} was removed meanwhile")
        return digest, version

    def source_path(self, program: SourceProgram) -> Path | None:
        """Returns the file with the source.

        Returns:
            Its path; None if nothing was written yet, or the file is gone.
        """
        digest = program.source_sha256
        path = self._builder.store.source_path(digest) if digest else None
        return path if path is not None and path.exists() else None

    def read_source(self, program: SourceProgram) -> bytes:
        """Returns the source, byte for byte; empty if nothing was written yet.

        Raises:
            RunFailed: The file with the source cannot be read.
        """
        path = self.source_path(program)
        try:
            return path.read_bytes() if path else b""
        except OSError as error:
            raise RunFailed(f"the source of programs/{program.name} is gone: {error}") from error

    async def draw(self, program: Program, compiled: CompiledProgram) -> Path:
        """Returns the file of a picture of the program, drawn at the first call.

        Raises:
            NotSupported: The program cannot be drawn.
            NoSpace: The disk of the state directory is full.
            TimedOut: Drawing took too long.
            RunFailed: Drawing failed for another reason.
        """
        return await self._builder.draw(BuildRequest.of(program), compiled)


def _note_source(program: SourceProgram, digest: str, nbytes: int) -> None:
    """Records which source a program has; its times change only with the content.

    Args:
        program: The program.
        digest: The source's hash.
        nbytes: The source's length.
    """
    if program.source_sha256 != digest:
        program.source_sha256, program.source_bytes = digest, nbytes
        program.attr.touch()


async def _off_loop(function: Callable[[bytes | memoryview], str], data: bytes | memoryview) -> str:
    """Calls a function that hashes or writes ``data``, in a thread if there is much of it.

    Args:
        function: The function; it returns the hash.
        data: A source; up to ``THREAD_BYTES`` are handled at once, as a thread costs more.
    """
    if len(data) < THREAD_BYTES:
        return function(data)
    return await trio.to_thread.run_sync(function, data)
