"""Programs after a remount: from the state directory, without compiling where that is possible."""

from __future__ import annotations

import logging

import trio

from jaxfs.errors import BrokenProgram, JaxfsError
from jaxfs.programs.builder import Builder
from jaxfs.programs.derived import Derivations
from jaxfs.programs.program import SourceProgram
from jaxfs.programs.program_records import program_of
from jaxfs.programs.source_builds import SourceBuilds
from jaxfs.programs.store import ProgramRecord
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
        try:
            source = self._builder.store.source_path(record.sha256)
            program.source_bytes = source.stat().st_size
            version = self._builder.recall(program.build_key, self._builder.device(program.device))
        except JaxfsError as error:
            program.end_build(number, error)
        except OSError as error:
            program.end_build(number, BrokenProgram(f"its source is gone: {error}"))
        else:
            if version is None:
                self._nursery.start_soon(self._rebuild, program, number)
            else:
                program.end_build(number, version)
                self._derivations.recall_kept(program)
                self._builds.retry(program)  # a source that a rename put in its place
        return program

    async def _rebuild(self, program: SourceProgram, number: int) -> None:
        try:
            await self._builds.build(program, number, WantedVersion.again(program))
        except JaxfsError as error:
            log.warning("programs/%s did not compile again: %s", program.name, error)
        if program.pending_sha256:
            self._builds.retry(program)
