"""Source -> artifact -> executable, each step once for each content.

Keys are content hashes together with everything else that the outcome depends on: platform, devices
and the versions of jax and jaxlib.  A result in the state directory is not made again, also not
after a remount; a build under way serves everyone who asks for the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs
import msgspec
import trio

from jaxfs.compiler.compiler_interface import Compiler
from jaxfs.compiler.job_protocol import Compile, Compiled, Traced, UntypedProgram
from jaxfs.compiler.sources.detect import is_pickle
from jaxfs.engine.interface import Engines, Executable
from jaxfs.engine.protocol import Device
from jaxfs.errors import NoDevice
from jaxfs.programs.build_key import BuildKey
from jaxfs.programs.build_steps import BuildRequest, BuildSteps
from jaxfs.programs.compiled import CompiledProgram, ProgramVersion
from jaxfs.programs.pickle_policy import PicklePolicy
from jaxfs.programs.single_flight import SingleFlights
from jaxfs.programs.store import Store, sha256

SERIALIZES = frozenset({"cpu"})  # platforms for which the compiler makes executables


@attrs.frozen
class _Target:
    """An artifact and what it is compiled for.

    Attributes:
        traced: the artifact's description.
        artifact_key: names the artifact in the store.
        devices: those it runs on, all at once.
        executable_key: names the executable, in the store and for the engine.
    """

    traced: Traced
    artifact_key: str
    devices: tuple[Device, ...]
    executable_key: str

    @property
    def device_ids(self) -> tuple[int, ...]:
        return tuple(device.id for device in self.devices)


class Builder:
    """Builds program versions.

    ``nursery`` must live longer than every request, because an interrupted request stops no build.

    Attributes:
        store: the state directory.
        jobs: the steps under way and those that have ended.
    """

    def __init__(
        self,
        store: Store,
        compiler: Compiler,
        engines: Engines,
        pickles: PicklePolicy,
        nursery: trio.Nursery,
    ) -> None:
        self.store = store
        self._engines = engines
        self._pickles = pickles
        self._steps = BuildSteps(store, compiler, engines)
        self.jobs = self._steps.jobs
        self._traces = SingleFlights[Traced | UntypedProgram](nursery)
        self._compiles = SingleFlights[Compiled](nursery)
        self._loads = SingleFlights[None](nursery)
        self._drawings = SingleFlights[None](nursery)

    def device(self, name: str) -> Device:
        """Returns the device called ``name``, the first one for an empty name.

        Raises:
            NoDevice: There is no device of this name.
        """
        devices = self._engines.devices()
        for device in devices:
            if name in (device.name, ""):
                return device
        known = " ".join(device.name for device in devices)
        raise NoDevice(f"there is no device {name!r}; there are {known}")

    async def build(self, request: BuildRequest, device: Device) -> ProgramVersion:
        """Makes a version from a source in the store: traces, compiles and loads it as needed.

        Raises:
            AccessDenied: the source is a pickle and the policy refuses its owner's.
            NoDevice: the program needs more devices than there are.
            Invalid, NotSupported, NoSpace, TimedOut, RunFailed: as the steps raise them.
        """
        takes_pickles = self._is_pickle(request.build_key)
        if takes_pickles:
            await self._pickles.check(request.user[0])
        key, platform = self._artifact_key(request.build_key, device), device.platform
        traced = self._find_traced(key)
        if traced is None:
            traced = await self._traces.do(
                key,
                lambda: self._steps.trace(key, request, platform, takes_pickles=takes_pickles),
            )
        if isinstance(traced, UntypedProgram):
            return traced
        return await self._compile(request, self._target(key, traced, device))

    async def _compile(self, request: BuildRequest, target: _Target) -> CompiledProgram:
        key, digest = target.executable_key, request.build_key.source_sha256
        platform = target.devices[0].platform
        if platform not in SERIALIZES:
            version = self._assemble(digest, target, None)
            await self._loads.do(key, lambda: self._steps.load(key, request, version.executable))
            return version
        compiled = self.store.info("executables", key, Compiled)
        if compiled is None:
            count = len(self._engines.devices())
            work = Compile(platform, target.device_ids, count, target.traced.signature)
            compiled = await self._compiles.do(
                key, lambda: self._steps.compile(key, request, target.artifact_key, work)
            )
        return self._assemble(digest, target, compiled)

    def recall(self, build_key: BuildKey, device: Device) -> ProgramVersion | None:
        """Returns the version of a key if all of it is in the state directory, else None."""
        artifact_key = self._artifact_key(build_key, device)
        traced = self._find_traced(artifact_key)
        if traced is None or isinstance(traced, UntypedProgram):
            return traced
        try:
            target = self._target(artifact_key, traced, device)
        except NoDevice:
            return None
        compiled = self.store.info("executables", target.executable_key, Compiled)
        if compiled is None and device.platform in SERIALIZES:
            return None
        return self._assemble(build_key.source_sha256, target, compiled)

    async def draw(self, request: BuildRequest, compiled: CompiledProgram) -> Path:
        """Returns the file of a picture, made once for each content.

        Raises:
            NotSupported: The program cannot be drawn.
            NoSpace: The disk of the state directory is full.
            TimedOut: Drawing took too long.
            RunFailed: Drawing failed for another reason.
        """
        path = compiled.graph_path
        if not path.exists():
            await self._drawings.do(str(path), lambda: self._steps.draw(request, compiled))
        return path

    def _is_pickle(self, build_key: BuildKey) -> bool:
        with self.store.source_path(build_key.source_sha256).open("rb") as source:
            return is_pickle(source.read(16))

    def _find_traced(self, key: str) -> Traced | UntypedProgram | None:
        """Returns what tracing made of a source before.

        Returns:
            The description of the artifact, or an untyped program if its types come with the call;
            None if the source was not traced.
        """
        return self.store.info("artifacts", key, Traced) or self.store.info(
            "artifacts", key, UntypedProgram
        )

    def _target(self, artifact_key: str, traced: Traced, device: Device) -> _Target:
        """Returns where an artifact runs: on ``device``, or on as many as it has partitions.

        Raises:
            NoDevice: There are not as many.
        """
        devices: Sequence[Device] = (device,)
        if traced.partitions > 1:
            devices = self._engines.devices()[: traced.partitions]
        if len(devices) < traced.partitions:
            names = " ".join(one.name for one in devices)
            raise NoDevice(
                f"the program runs on {traced.partitions} devices at once, and there "
                f"{'are' if len(devices) > 1 else 'is'} {len(devices)} ({names}); use fewer, "
                f"or on a CPU, mount with -o devices={traced.partitions}"
            )
        count = len(self._engines.devices())
        key = self._key("executable", artifact_key, *(one.name for one in devices), count)
        return _Target(traced, artifact_key, tuple(devices), key)

    def _assemble(
        self, source_sha256: str, target: _Target, compiled: Compiled | None
    ) -> CompiledProgram:
        """Puts a version together; ``compiled`` is None where the engine compiles the artifact."""
        traced, key = target.traced, target.executable_key
        artifact = self.store.entry("artifacts", target.artifact_key)
        built = self.store.entry("executables", key)
        path = built / "executable" if compiled else artifact / "artifact"
        return CompiledProgram(
            sha256=source_sha256,
            source_format=traced.source_format,
            platforms=traced.platforms,
            signature=traced.signature,
            devices=tuple(device.name for device in target.devices),
            executable=Executable(
                key,
                str(path),
                target.device_ids,
                traced.signature,
                serialized=compiled is not None,
            ),
            compile_usec=compiled.compile_usec if compiled else 0,
            cost=compiled.cost if compiled else {},
            memory=compiled.memory if compiled else {},
            stablehlo_path=artifact / "stablehlo.mlir",
            hlo_path=built / "hlo.txt",
        )

    def _artifact_key(self, build_key: BuildKey, device: Device) -> str:
        """Returns the name of the artifact of a program on the platform of a device.

        An artifact is the same for all devices of a platform; executables are not.
        """
        return self._key(
            "artifact", build_key.source_sha256, device.platform, *build_key.cache_parts
        )

    def _key(self, *parts: object) -> str:
        """Returns a name in the state directory, which depends on the versions of jax and jaxlib.

        Args:
            *parts: What the file is made from, as JSON; their form must never change.
        """
        return sha256(msgspec.json.encode([self._engines.toolchain, *parts]))
