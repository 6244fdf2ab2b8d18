"""The steps of a build: trace, compile and load, and the drawing of a picture.

Each step is a job that users see in ``status`` and ``trace``, with the rights of the program's
owner.  What the compiler makes goes to the state directory under the key that `Builder` gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

import attrs
import msgspec

from jaxfs.compiler.compiler_interface import Compiler, UserIds
from jaxfs.compiler.job_protocol import Compile, Compiled, Trace, Traced, UntypedProgram
from jaxfs.engine.interface import Engines, Executable
from jaxfs.programs.build_key import BuildKey
from jaxfs.programs.compiled import BuildOrigin, CompiledProgram
from jaxfs.programs.disk_usage import DiskUsage
from jaxfs.programs.jobs import BuildJob, BuildJobs, Kind
from jaxfs.programs.program import Program, root_of
from jaxfs.programs.store import Store

INFO_BYTES = 4 << 10  # of a description


@attrs.frozen
class BuildRequest:
    """What to build and for whom.

    Attributes:
        build_key: what to build.
        user: uid and gid of the program's owner; jobs get these rights.
        program: the name of the source program, for ``trace``.
    """

    build_key: BuildKey
    user: UserIds
    program: str

    @classmethod
    def of(cls, program: Program) -> BuildRequest:
        """Returns the request for a program, written or derived, in its source's owner's name."""
        root = root_of(program)
        return cls(program.build_key, (root.attr.uid, root.attr.gid), root.name)

    @classmethod
    def again(cls, origin: BuildOrigin) -> BuildRequest:
        """Returns the request for something that was built before."""
        return cls(origin.build_key, origin.user, origin.program)


class BuildSteps:
    """Runs the steps of builds with a compiler and engines.

    Attributes:
        jobs: those under way and those that have ended.
    """

    def __init__(
        self,
        store: Store,
        disk: DiskUsage,
        compiler: Compiler,
        engines: Engines,
        load_timeout_s: float,
    ) -> None:
        self._store = store
        self._disk = disk
        self._compiler = compiler
        self._engines = engines
        self._load_timeout_s = load_timeout_s
        self.jobs = BuildJobs()

    async def trace(
        self, key: str, request: BuildRequest, platform: str, *, takes_pickles: bool
    ) -> Traced | UntypedProgram:
        """Makes the artifact ``key`` from a source in the store.

        Raises:
            JaxfsError: As `Compiler.trace`.
        """
        wanted = request.build_key
        work = Trace(platform, wanted.steps, wanted.types, dict(wanted.options), takes_pickles)
        with (
            self._job("trace", key, request) as job,
            self._store.source_path(wanted.source_sha256).open("rb") as source,
        ):
            result = await self._compiler.trace(
                source.fileno(), work, user=request.user, began=job.begin
            )
        if isinstance(result, UntypedProgram):
            await self._put("artifacts", key, request, result, {})
            return result
        files = {"artifact": result.artifact, "stablehlo.mlir": result.stablehlo}
        await self._put("artifacts", key, request, result.traced, files)
        return result.traced

    async def compile(
        self, key: str, request: BuildRequest, artifact_key: str, work: Compile
    ) -> Compiled:
        """Makes the executable ``key`` from an artifact.

        Raises:
            JaxfsError: As `Compiler.compile`.
        """
        with (
            self._job("compile", key, request) as job,
            (self._store.entry("artifacts", artifact_key) / "artifact").open("rb") as artifact,
        ):
            result = await self._compiler.compile(
                artifact.fileno(), work, user=request.user, began=job.begin
            )
        files = {"executable": result.executable, "hlo.txt": result.hlo}
        await self._put("executables", key, request, result.compiled, files)
        return result.compiled

    async def _put(
        self,
        kind: str,
        key: str,
        request: BuildRequest,
        info: msgspec.Struct,
        files: Mapping[str, bytes],
    ) -> None:
        """Writes an entry of the state directory, charged to the owner of the program.

        Raises:
            OverQuota: The user has too much in the state directory.
            JaxfsError: As `Store.put_entry`.
        """
        nbytes = INFO_BYTES + sum(map(len, files.values()))
        with self._disk.writing(request.user[0], self._store.entry(kind, key), nbytes):
            await self._store.off_loop(self._store.put_entry, kind, key, info, files)

    async def load(
        self, key: str, request: BuildRequest, executable: Executable
    ) -> Compiled | None:
        """Lets the owner's engine compile and load an artifact.

        Returns:
            The compiler's figures, which are kept as the executable ``key``, without its bytes;
            None if the engine had compiled it before.

        Raises:
            JaxfsError: As `Engine.load`.
        """
        with self._job("load", key, request) as job:
            job.begin()
            engine = self._engines.of(request.user[0])
            found = await engine.load(executable, self._load_timeout_s)
        if found is None:
            return None
        figures = Compiled(found.compile_usec, found.cost, found.memory)
        await self._put("executables", key, request, figures, {})
        return figures

    async def draw(self, request: BuildRequest, compiled: CompiledProgram) -> None:
        """Makes ``compiled.graph_path``, charged to the owner of the program.

        Raises:
            OverQuota: The user has too much in the state directory.
            JaxfsError: As `Compiler.draw`.
        """
        path = compiled.graph_path
        with (
            self._job("draw", str(path), request) as job,
            compiled.artifact_path.open("rb") as artifact,
        ):
            picture = await self._compiler.draw(
                artifact.fileno(), compiled.signature, user=request.user, began=job.begin
            )
        with self._disk.growing(request.user[0], path.parent, len(picture)):
            await self._store.off_loop(self._store.add_file, path, picture)

    def _job(self, kind: Kind, key: str, request: BuildRequest) -> AbstractContextManager[BuildJob]:
        job = BuildJob(kind, request.user[0], request.program, request.build_key)
        return self.jobs.doing(key, job)
