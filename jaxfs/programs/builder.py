"""Source -> artifact -> executable, each step once for each content.

Keys are content hashes together with everything else that the outcome depends on: platform,
devices, the versions of jax and jaxlib, and what the engine reports of its devices.  A result in
the state directory is not made again, also not after a remount; a build under way serves everyone
who asks for the same.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import msgspec
import trio

from jaxfs.compiler.compiler_interface import Compiler
from jaxfs.compiler.job_protocol import Compile, Compiled, Traced, UntypedProgram
from jaxfs.compiler.sources.detect import is_pickle
from jaxfs.engine.interface import Engines, Executable
from jaxfs.engine.protocol import Device
from jaxfs.errors import NoDevice, RunFailed
from jaxfs.options import Options
from jaxfs.programs.build_key import BuildKey, machine_fingerprint
from jaxfs.programs.build_steps import BuildRequest, BuildSteps
from jaxfs.programs.cache_entries import CacheEntry
from jaxfs.programs.compiled import BuildOrigin, CompiledProgram, ProgramVersion
from jaxfs.programs.disk_usage import DiskUsage
from jaxfs.programs.pickle_policy import PicklePolicy
from jaxfs.programs.repairs import Repairs
from jaxfs.programs.single_flight import SingleFlights
from jaxfs.programs.store import UNREADABLE, Store, sha256
from jaxfs.quotas import Quotas
from jaxfs.types.avals import BY_SHORT

PICKLE_FORMAT = "pickle"  # as `Traced.source_format`
_TRACED: Any = Traced | UntypedProgram  # msgspec takes unions, typing knows no type for them
log = logging.getLogger(__name__)


@attrs.frozen
class _Target:
    """An artifact and what it is compiled for.

    Attributes:
        traced: the artifact's description.
        artifact_key: names the artifact in the store.
        devices: those it runs on, all at once.
        executable_key: names the executable, in the store and for the engine.
        old_executable_key: its name before the machine was part of it.
    """

    traced: Traced
    artifact_key: str
    devices: tuple[Device, ...]
    executable_key: str
    old_executable_key: str

    @property
    def device_ids(self) -> tuple[int, ...]:
        return tuple(device.id for device in self.devices)


class Builder:
    """Builds program versions.

    ``nursery`` must live longer than every request, because an interrupted request stops no build.

    Attributes:
        store: the state directory.
        disk: what it costs users.
        jobs: the steps under way and those that have ended.
        repairs: makes damaged files of the state directory again.
    """

    def __init__(
        self,
        store: Store,
        quotas: Quotas,
        compiler: Compiler,
        engines: Engines,
        pickles: PicklePolicy,
        nursery: trio.Nursery,
        options: Options | None = None,
    ) -> None:
        options = options or Options()
        self._compiles_apart = options.compile == "apart"
        self.store = store
        self.disk = DiskUsage(store, quotas)
        self._engines = engines
        self._pickles = pickles
        self._steps = BuildSteps(store, self.disk, compiler, engines, options.compile_timeout)
        self.jobs = self._steps.jobs
        self._traces = SingleFlights[Traced | UntypedProgram](nursery)
        self._compiles = SingleFlights[Compiled](nursery)
        self._loads = SingleFlights[Compiled | None](nursery)
        self._drawings = SingleFlights[None](nursery)
        self._nursery = nursery
        self._machine = machine_fingerprint()
        self.repairs = Repairs(store, nursery, self._build_again, self._trace_again)
        engines.repair_with(self.repairs.repair)

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
            OverQuota: its owner has too much in the state directory.
            Invalid, NotSupported, NoSpace, TimedOut, RunFailed: as the steps raise them.
        """
        with contextlib.ExitStack() as held:
            return await self._build(request, device, held)

    async def _build(
        self, request: BuildRequest, device: Device, held: contextlib.ExitStack
    ) -> ProgramVersion:
        """Builds; ``held`` keeps what the build uses in the state directory."""
        uid, digest = request.user[0], request.build_key.source_sha256
        held.enter_context(self.disk.using(uid, self.store.source_path(digest)))
        key = self._artifact_key(request.build_key, device)
        held.enter_context(self.disk.using(uid, self.store.entry("artifacts", key)))
        traced = self._find_traced(key)
        if traced is None:
            traced = await self._trace(key, request, device)
        elif traced.source_format == PICKLE_FORMAT:
            await self._pickles.check(request.user[0])
        if isinstance(traced, UntypedProgram):
            return traced
        target = self._target(key, traced, device)
        executable = self.store.entry("executables", target.executable_key)
        held.enter_context(self.disk.using(uid, executable))
        return await self._compile(request, target)

    async def _trace(
        self, key: str, request: BuildRequest, device: Device
    ) -> Traced | UntypedProgram:
        """Makes an artifact from its source.

        Raises:
            RunFailed: the source is damaged.
            JaxfsError: as `build`.
        """
        platform = self._lowered_for(device)
        digest = request.build_key.source_sha256
        await self.store.off_loop(self.store.check_source, digest, request.program)
        takes_pickles = self._is_pickle(digest)
        if takes_pickles:
            await self._pickles.check(request.user[0])
        return await self._traces.do(
            key,
            lambda: self._steps.trace(key, request, platform, takes_pickles=takes_pickles),
        )

    async def _compile(self, request: BuildRequest, target: _Target) -> CompiledProgram:
        key = target.executable_key
        if not self._is_apart():
            target = await self._with_artifact(request, target)
            version = self._assemble(request, target, None)
            figures = await self._loads.do(
                key, lambda: self._steps.load(key, request, version.executable)
            )
            return version.with_figures(figures or self._find_compiled(target))
        compiled = self._find_compiled(target)
        if compiled is None:
            target = await self._with_artifact(request, target)
            count = len(self._engines.devices())
            hardware, signature = self._engines.target, target.traced.signature
            work = Compile(hardware, target.device_ids, count, signature)
            compiled = await self._compiles.do(
                key, lambda: self._steps.compile(key, request, target.artifact_key, work)
            )
        return self._assemble(request, target, compiled)

    async def _with_artifact(self, request: BuildRequest, target: _Target) -> _Target:
        """Returns a target with an undamaged artifact, which is made again if necessary."""
        path = self.store.entry("artifacts", target.artifact_key) / "artifact"
        if await self.repairs.is_intact(path):
            return target
        log.warning("%s is damaged and is made again", path)
        traced = await self._trace(target.artifact_key, request, target.devices[0])
        if isinstance(traced, UntypedProgram):
            raise RunFailed(f"{path} is damaged; write the program again")
        return self._target(target.artifact_key, traced, target.devices[0])

    async def _build_again(self, origin: BuildOrigin) -> ProgramVersion:
        return await self.build(BuildRequest.again(origin), self.device(origin.device))

    async def _trace_again(self, artifact_key: str, origin: BuildOrigin) -> None:
        await self._trace(artifact_key, BuildRequest.again(origin), self.device(origin.device))

    def recall(self, request: BuildRequest, device: Device) -> ProgramVersion | None:
        """Returns the version of a key if all of it is in the state directory, else None."""
        artifact_key = self._artifact_key(request.build_key, device)
        traced = self._find_traced(artifact_key)
        if traced is None or isinstance(traced, UntypedProgram):
            return traced
        try:
            target = self._target(artifact_key, traced, device)
        except NoDevice:
            return None
        compiled = self._find_compiled(target)
        if not self._is_apart():
            return self._assemble(request, target, None).with_figures(compiled)
        return None if compiled is None else self._assemble(request, target, compiled)

    def _is_apart(self) -> bool:
        """Returns whether a job of the compiler makes executables, and not the engine.

        An engine that compiles does so beside the runs of all users: one compile may keep the
        device from them, and its crash ends them.  Only devices that XLA cannot describe need it.
        """
        target = self._engines.target
        return target.platform == "cpu" or (self._compiles_apart and target.needs_no_device)

    def _find_compiled(self, target: _Target) -> Compiled | None:
        """Returns what compiling made of an artifact before, for a machine like this one.

        Versions before the machine was part of the key left executables that may be of any
        machine: they are adopted, and checked when they are loaded.
        """
        self.store.adopt("executables", target.old_executable_key, target.executable_key)
        found = self.store.info("executables", target.executable_key, Compiled)
        self._seal_old()
        return found

    def _seal_old(self) -> None:
        """Gives entries of versions before the checksums theirs, in a thread."""
        entries, self.store.unsealed = self.store.unsealed, []
        if entries:
            self._nursery.start_soon(self.store.off_loop, _seal_all, entries)

    async def draw(self, request: BuildRequest, compiled: CompiledProgram) -> Path:
        """Returns the file of a picture, made once for each content.

        Raises:
            NotSupported: The program cannot be drawn.
            NoSpace: The disk of the state directory is full.
            TimedOut: Drawing took too long.
            RunFailed: Drawing failed for another reason.
        """
        path = compiled.graph_path
        if not path.exists() or not await self.repairs.is_intact(path):
            await self.repairs.intact(compiled, compiled.artifact_path)
            await self._drawings.do(str(path), lambda: self._steps.draw(request, compiled))
        return path

    def _is_pickle(self, source_sha256: str) -> bool:
        with self.store.source_path(source_sha256).open("rb") as source:
            return is_pickle(source.read(16))

    def _find_traced(self, key: str) -> Traced | UntypedProgram | None:
        """Returns what tracing made of a source before.

        Returns:
            The description of the artifact, or an untyped program if its types come with the call;
            None if the source was not traced.
        """
        found: Traced | UntypedProgram | None = self.store.info("artifacts", key, _TRACED)
        self._seal_old()
        if isinstance(found, Traced) and not all(
            aval.dtype in BY_SHORT and all(size >= 0 for size in aval.shape)
            for aval in (*found.signature.input_avals, *found.signature.output_avals)
        ):
            return None  # of another version
        return found

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
        parts = ("executable", artifact_key, *(one.name for one in devices), count)
        hardware = self._engines.target.key_parts
        if not self._is_apart():
            hardware = [*hardware, "engine"]  # its entry has figures, and no executable
        key, old_key = self._key(*parts, self._machine, *hardware), self._key(*parts)
        return _Target(traced, artifact_key, tuple(devices), key, old_key)

    def _assemble(
        self, request: BuildRequest, target: _Target, compiled: Compiled | None
    ) -> CompiledProgram:
        """Puts a version together; ``compiled`` is None where the engine compiles the artifact."""
        traced, key = target.traced, target.executable_key
        build_key, device = request.build_key, target.devices[0].name
        origin = self.repairs.origins.setdefault(
            key, BuildOrigin(build_key, request.user, request.program, device)
        )
        artifact = self.store.entry("artifacts", target.artifact_key)
        built = self.store.entry("executables", key)
        path = built / "executable" if compiled else artifact / "artifact"
        return CompiledProgram(
            sha256=build_key.source_sha256,
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
                digest=CacheEntry(path.parent).checksum(path.name),
            ),
            compile_usec=compiled.compile_usec if compiled else 0,
            cost=compiled.cost if compiled else {},
            memory=compiled.memory if compiled else {},
            stablehlo_path=artifact / "stablehlo.mlir",
            hlo_path=built / "hlo.txt",
            origin=origin,
        )

    def _artifact_key(self, build_key: BuildKey, device: Device) -> str:
        """Returns the name of the artifact of a program on the platform of a device.

        An artifact is the same for all devices of a platform; executables are not.
        """
        platform = self._lowered_for(device)
        return self._key("artifact", build_key.source_sha256, platform, *build_key.cache_parts)

    def _lowered_for(self, device: Device) -> str:
        """Returns the platform of a device as lowerings name it: ``cuda`` or ``rocm`` for a GPU."""
        return self._engines.target.platform if device.platform == "gpu" else device.platform

    def _key(self, *parts: object) -> str:
        """Returns a name in the state directory, which depends on the versions of jax and jaxlib.

        Args:
            *parts: What the file is made from, as JSON; their form must never change.
        """
        return sha256(msgspec.json.encode([self._engines.toolchain, *parts]))


def _seal_all(entries: Sequence[CacheEntry]) -> None:
    for entry in entries:
        try:
            entry.seal()
        except UNREADABLE as error:
            log.debug("%s has no checksums yet: %s", entry.path, error)
