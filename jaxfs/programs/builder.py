"""Source -> artifact -> executable, each step once for each content.

Keys are content hashes together with everything else the outcome depends on: platform, device and
the versions of jax and jaxlib.  What is in the state directory is not made again, also not after a
remount; what is being made is waited for, whoever asked first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import attrs
import msgspec
import trio

from jaxfs.compiler.compiler_interface import Compiler
from jaxfs.compiler.job_protocol import Compile, Compiled, Trace, Traced, UntypedProgram
from jaxfs.compiler.sources.detect import is_pickle
from jaxfs.engine.interface import Engines, Executable
from jaxfs.engine.protocol import Device
from jaxfs.errors import NoDevice
from jaxfs.programs.build_key import BuildKey
from jaxfs.programs.compiled import CompiledProgram
from jaxfs.programs.jobs import BuildJob, BuildJobs, Kind
from jaxfs.programs.pickle_policy import PicklePolicy
from jaxfs.programs.program import SourceProgram
from jaxfs.programs.single_flight import SingleFlight
from jaxfs.programs.store import Store, sha256

Product = TypeVar("Product")
SERIALIZES = frozenset({"cpu"})  # platforms whose executables the throw-away process can make


THREAD_BYTES = 1 << 20


async def aside(do: Callable[[bytes | memoryview], Product], data: bytes | memoryview) -> Product:
    """Hash or write ``data``; what is large does not hold up the mount."""
    if len(data) < THREAD_BYTES:
        return do(data)
    return await trio.to_thread.run_sync(do, data)


@attrs.frozen
class Author:
    """Whose program it is, with whose rights it is traced and compiled; and what it is called."""

    uid: int
    gid: int
    program: str

    @classmethod
    def of(cls, program: SourceProgram) -> Author:
        return cls(program.meta.uid, program.meta.gid, program.name)


class Builder:
    """Makes versions.  ``nursery`` outlives every request: an interrupted waiter stops nothing."""

    def __init__(
        self,
        store: Store,
        compiler: Compiler,
        engines: Engines,
        pickles: PicklePolicy,
        nursery: trio.Nursery,
    ) -> None:
        self._store = store
        self._compiler = compiler
        self._engines = engines
        self._pickles = pickles
        self._nursery = nursery
        self._under_way: dict[str, SingleFlight[Any]] = {}
        self.jobs = BuildJobs()

    @property
    def store(self) -> Store:
        return self._store

    def devices_for(self, traced: Traced, device: Device) -> tuple[Device, ...]:
        """Where a program runs: on ``device``, or on the first ones where it needs several.

        Raises NoDevice where there are not as many.
        """
        if traced.partitions == 1:
            return (device,)
        there = self._engines.devices()
        if traced.partitions > len(there):
            names = " ".join(one.name for one in there)
            raise NoDevice(
                f"the program runs on {traced.partitions} devices at once, and there "
                f"{'are' if len(there) > 1 else 'is'} {len(there)} ({names}); use fewer, "
                f"or on a CPU, mount with -o devices={traced.partitions}"
            )
        return there[: traced.partitions]

    def device(self, name: str) -> Device:
        """The device called ``name``; the first one for an empty name.  Raises NoDevice."""
        devices = self._engines.devices()
        for device in devices:
            if name in (device.name, ""):
                return device
        known = " ".join(device.name for device in devices)
        raise NoDevice(f"there is no device {name!r}; there are {known}")

    async def build(
        self, recipe: BuildKey, device: Device, author: Author
    ) -> CompiledProgram | UntypedProgram:
        """Everything from a source in the store to a version that can run.

        Raises Invalid, NoSpace, AccessDenied ...
        """
        is_function = self._is_pickle(recipe)
        if is_function:
            await self._pickles.check(author.uid)
        key = self._artifact_key(recipe, device)
        traced = self._traced(key)
        if traced is None:
            traced = await self._once(
                key, lambda: self._trace(key, recipe, device, author, takes_pickles=is_function)
            )
        if isinstance(traced, UntypedProgram):
            return traced
        return await self._version(recipe, key, traced, device, author)

    def recall(self, recipe: BuildKey, device: Device) -> CompiledProgram | UntypedProgram | None:
        """What a known recipe makes, if all its parts are in the state directory."""
        artifact = self._artifact_key(recipe, device)
        traced = self._traced(artifact)
        if traced is None or isinstance(traced, UntypedProgram):
            return traced
        try:
            devices = self.devices_for(traced, device)
        except NoDevice:
            return None
        key = self._executable_key(artifact, devices)
        compiled = self._store.info("executables", key, Compiled)
        if compiled is None and device.platform in SERIALIZES:
            return None
        return self._assemble(recipe.source_sha256, artifact, traced, devices, compiled)

    def _is_pickle(self, recipe: BuildKey) -> bool:
        with self._store.source_path(recipe.source_sha256).open("rb") as source:
            return is_pickle(source.read(16))

    def _traced(self, key: str) -> Traced | UntypedProgram | None:
        return self._store.info("artifacts", key, Traced) or self._store.info(
            "artifacts", key, UntypedProgram
        )

    async def _version(
        self, recipe: BuildKey, artifact: str, traced: Traced, device: Device, author: Author
    ) -> CompiledProgram:
        compiled: Compiled | None = None
        devices = self.devices_for(traced, device)
        key = self._executable_key(artifact, devices)
        if device.platform in SERIALIZES:
            compiled = self._store.info("executables", key, Compiled)
            if compiled is None:
                compiled = await self._once(
                    key, lambda: self._compile(key, recipe, artifact, traced, devices, author)
                )
        version = self._assemble(recipe.source_sha256, artifact, traced, devices, compiled)
        if compiled is None:
            await self._once(key, lambda: self._load(key, recipe, version, author))
        return version

    async def _load(
        self, key: str, recipe: BuildKey, version: CompiledProgram, author: Author
    ) -> None:
        with self._doing("load", key, recipe, author) as job:
            job.begin()
            await self._engines.of(author.uid).load(version.executable)

    async def draw(self, recipe: BuildKey, version: CompiledProgram, author: Author) -> Path:
        """The program as a picture, once for each content.  Raises NotSupported, NoSpace ..."""
        path = version.graph_path
        if not path.exists():
            await self._once(str(path), lambda: self._draw(path, recipe, version, author))
        return path

    async def _draw(
        self, path: Path, recipe: BuildKey, version: CompiledProgram, author: Author
    ) -> None:
        with (
            self._doing("draw", str(path), recipe, author) as job,
            path.with_name("artifact").open("rb") as file,
        ):
            user = (author.uid, author.gid)
            picture = await self._compiler.draw(
                file.fileno(), version.signature, user=user, began=job.begin
            )
        self._store.put_file(path, picture)

    def _doing(
        self, kind: Kind, key: str, recipe: BuildKey, author: Author
    ) -> AbstractContextManager[BuildJob]:
        job = BuildJob(kind, author.uid, author.program, recipe)
        return self.jobs.doing(key, job)

    def _assemble(
        self,
        digest: str,
        artifact: str,
        traced: Traced,
        devices: Sequence[Device],
        compiled: Compiled | None,
    ) -> CompiledProgram:
        home = self._store.entry("artifacts", artifact)
        key = self._executable_key(artifact, devices)
        numbers = tuple(device.id for device in devices)
        built = self._store.entry("executables", key)
        path = built / "executable" if compiled else home / "artifact"
        return CompiledProgram(
            sha256=digest,
            source_format=traced.source_format,
            platforms=traced.platforms,
            signature=traced.signature,
            devices=tuple(device.name for device in devices),
            executable=Executable(
                key, str(path), numbers, traced.signature, serialized=compiled is not None
            ),
            compile_usec=compiled.compile_usec if compiled else 0,
            cost=compiled.cost if compiled else {},
            memory=compiled.memory if compiled else {},
            stablehlo_path=home / "stablehlo.mlir",
            hlo_path=built / "hlo.txt",
        )

    async def _trace(
        self, key: str, recipe: BuildKey, device: Device, author: Author, *, takes_pickles: bool
    ) -> Traced | UntypedProgram:
        options = dict(recipe.options)
        work = Trace(device.platform, recipe.steps, recipe.types, options, takes_pickles)
        with (
            self._doing("trace", key, recipe, author) as job,
            self._store.source_path(recipe.source_sha256).open("rb") as source,
        ):
            made = await self._compiler.trace(
                source.fileno(), work, user=(author.uid, author.gid), began=job.begin
            )
        if isinstance(made, UntypedProgram):
            self._store.put_entry("artifacts", key, made, {})
            return made
        traced, artifact, text = made
        files = {"artifact": artifact, "stablehlo.mlir": text}
        self._store.put_entry("artifacts", key, traced, files)
        return traced

    async def _compile(
        self,
        key: str,
        recipe: BuildKey,
        artifact: str,
        traced: Traced,
        devices: Sequence[Device],
        author: Author,
    ) -> Compiled:
        count = len(self._engines.devices())
        numbers = tuple(device.id for device in devices)
        work = Compile(devices[0].platform, numbers, count, traced.signature)
        with (
            self._doing("compile", key, recipe, author) as job,
            (self._store.entry("artifacts", artifact) / "artifact").open("rb") as file,
        ):
            compiled, executable, hlo = await self._compiler.compile(
                file.fileno(), work, user=(author.uid, author.gid), began=job.begin
            )
        files = {"executable": executable, "hlo.txt": hlo}
        self._store.put_entry("executables", key, compiled, files)
        return compiled

    def _artifact_key(self, recipe: BuildKey, device: Device) -> str:
        return self._key("artifact", recipe.source_sha256, device.platform, *recipe.key)

    def _key(self, *parts: object) -> str:
        return sha256(msgspec.json.encode([self._engines.toolchain, *parts]))

    def _executable_key(self, artifact: str, devices: Sequence[Device]) -> str:
        names = [device.name for device in devices]
        return self._key("executable", artifact, *names, len(self._engines.devices()))

    async def _once(self, key: str, make: Callable[[], Awaitable[Product]]) -> Product:
        """What ``make`` gives, once however many ask at the same time."""
        work = self._under_way.get(key)
        if work is None:

            async def make_and_land() -> Product:
                try:
                    return await make()
                finally:
                    del self._under_way[key]

            work = self._under_way[key] = SingleFlight(self._nursery, make_and_land)
        product: Product = await work.wait()
        return product
