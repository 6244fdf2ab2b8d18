"""Programs after a remount: from the state directory, without compiling where that is possible."""

from __future__ import annotations

import logging

import trio

from jaxfs.errors import JaxfsError, RunFailed
from jaxfs.programs.build_steps import BuildRequest
from jaxfs.programs.builder import Builder
from jaxfs.programs.derived import Derivations
from jaxfs.programs.program import SourceProgram
from jaxfs.programs.program_records import program_of
from jaxfs.programs.source_builds import SourceBuilds
from jaxfs.programs.stored_records import ProgramRecord
from jaxfs.programs.wanted_version import WantedVersion

log = logging.getLogger(__name__)


class Restorer:
    """Makes programs from their records.

    Programs with a version in the state directory are ready at once.  The others, for example
    after an upgrade of jax, compile in ``nursery`` while the mount is served.
    """

    def __init__(
        self,
        builder: Builder,
        builds: SourceBuilds,
        derivations: Derivations,
        nursery: trio.Nursery,
    ) -> None:
        self._builder = builder
        self._builds = builds
        self._derivations = derivations
        self._nursery = nursery

    def restore(self, record: ProgramRecord) -> SourceProgram:
        """Returns the program of a record, ready, failed or still compiling."""
        program = program_of(record)
        program.start = self._builds.retry
        number = program.begin_build()
        lost = self._find_source(program)
        try:
            device = self._builder.device(program.device)
            version = self._builder.recall(BuildRequest.of(program), device)
        except JaxfsError as error:
            program.end_build(number, error)
            return program
        if version is None:
            self._nursery.start_soon(self._rebuild, program, number)
        else:
            program.end_build(number, version)
            self._derivations.recall_kept(program)
            self._builds.retry(program)  # a source that a rename put in its place
        if lost is not None:
            _show(program, lost)
        return program

    def _find_source(self, program: SourceProgram) -> JaxfsError | None:
        """Notes the size of a program's source; returns an error if it is gone."""
        try:
            path = self._builder.store.source_path(program.source_sha256)
            program.source_bytes = path.stat().st_size
        except OSError as error:
            return RunFailed(f"its source is gone: {error}; write it again")
        return None

    def check_sources(self, programs: tuple[SourceProgram, ...]) -> None:
        """Compares the sources with their checksums, while the mount is served.

        A program with a damaged source runs as long as what was made from it is there.
        """
        self._nursery.start_soon(self._check_sources, programs)

    async def _check_sources(self, programs: tuple[SourceProgram, ...]) -> None:
        check = self._builder.store.check_source
        for program in programs:
            digest = program.source_sha256
            try:
                await self._builder.store.off_loop(check, digest, program.source_name)
            except JaxfsError as error:
                if not program.removed and program.source_sha256 == digest:
                    log.warning("%s", error.reason)
                    _show(program, error)

    async def _rebuild(self, program: SourceProgram, number: int) -> None:
        try:
            await self._builds.build(program, number, WantedVersion.again(program))
        except JaxfsError as error:
            log.warning("programs/%s did not compile again: %s", program.name, error)
        if program.pending_sha256:
            self._builds.retry(program)


def _show(program: SourceProgram, error: JaxfsError) -> None:
    """Shows an error of a program's source; a version that works stays."""
    program.end_build(program.begin_build(), error)
