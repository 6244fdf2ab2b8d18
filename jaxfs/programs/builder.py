"""Source -> artifact -> executable, each step once for each content.

Keys are content hashes together with everything else the outcome depends on: platform, device and
the versions of jax and jaxlib.  What is in the state directory is not made again, also not after a
remount; what is being made is waited for, whoever asked first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
import trio

from jaxfs.engine.interface import Engine, Executable
from jaxfs.engine.protocol import Device
from jaxfs.errors import Invalid, NoDevice
from jaxfs.outlive import Work
from jaxfs.programs.store import Store, sha256
from jaxfs.programs.version import Version
from jaxfs.tracer.client import TracerClient
from jaxfs.tracer.protocol import Compile, Compiled, Traced

Product = TypeVar("Product")
SERIALIZES = frozenset({"cpu"})  # platforms whose executables the throw-away process can make


THREAD_BYTES = 1 << 20


async def aside(do: Callable[[bytes | memoryview], Product], data: bytes | memoryview) -> Product:
    """Hash or write ``data``; what is large does not hold up the mount."""
    if len(data) < THREAD_BYTES:
        return do(data)
    return await trio.to_thread.run_sync(do, data)


class Builder:
    """Makes versions.  ``nursery`` outlives every request: an interrupted waiter stops nothing."""

    def __init__(
        self, store: Store, tracer: TracerClient, engine: Engine, nursery: trio.Nursery
    ) -> None:
        self._store = store
        self._tracer = tracer
        self._engine = engine
        self._nursery = nursery
        self._under_way: dict[str, Work[Any]] = {}

    @property
    def store(self) -> Store:
        return self._store

    def device(self, name: str) -> Device:
        """The device called ``name``; the first one for an empty name.  Raises NoDevice."""
        devices = self._engine.devices()
        for device in devices:
            if name in (device.name, ""):
                return device
        known = " ".join(device.name for device in devices)
        raise NoDevice(f"there is no device {name!r}; there are {known}")

    async def build(self, source: bytes | memoryview, device: Device) -> Version:
        """Everything from the source to a version that can run.  Raises Invalid, NoSpace ..."""
        if not len(source):
            raise Invalid("the file is empty; write a program to it")
        digest = await aside(self._store.put_source, source)
        artifact = self._key("artifact", digest, device.platform)
        traced = self._store.info("artifacts", artifact, Traced)
        if traced is None:
            traced = await self._once(artifact, lambda: self._trace(artifact, digest, device))
        return await self._version(digest, artifact, traced, device)

    def recall(self, digest: str, device: Device) -> Version | None:
        """The version of a known source, if all its parts are in the state directory."""
        artifact = self._key("artifact", digest, device.platform)
        traced = self._store.info("artifacts", artifact, Traced)
        if traced is None:
            return None
        key = self._executable_key(artifact, device)
        compiled = self._store.info("executables", key, Compiled)
        if compiled is None and device.platform in SERIALIZES:
            return None
        return self._assemble(digest, artifact, traced, device, compiled)

    async def _version(self, digest: str, artifact: str, traced: Traced, device: Device) -> Version:
        compiled: Compiled | None = None
        if device.platform in SERIALIZES:
            key = self._executable_key(artifact, device)
            compiled = self._store.info("executables", key, Compiled)
            if compiled is None:
                compiled = await self._once(
                    key, lambda: self._compile(key, artifact, traced, device)
                )
        version = self._assemble(digest, artifact, traced, device, compiled)
        if compiled is None:
            await self._engine.load(version.executable)
        return version

    def _assemble(
        self, digest: str, artifact: str, traced: Traced, device: Device, compiled: Compiled | None
    ) -> Version:
        home = self._store.entry("artifacts", artifact)
        key = self._executable_key(artifact, device)
        built = self._store.entry("executables", key)
        path = built / "executable" if compiled else home / "artifact"
        return Version(
            sha256=digest,
            source_format=traced.source_format,
            platforms=traced.platforms,
            signature=traced.signature,
            device=device.name,
            executable=Executable(
                key, str(path), device.id, traced.signature, serialized=compiled is not None
            ),
            compile_usec=compiled.compile_usec if compiled else 0,
            cost=compiled.cost if compiled else {},
            memory=compiled.memory if compiled else {},
            stablehlo_path=home / "stablehlo.mlir",
            hlo_path=built / "hlo.txt",
        )

    async def _trace(self, key: str, digest: str, device: Device) -> Traced:
        with self._store.source_path(digest).open("rb") as source:
            traced, artifact, text = await self._tracer.trace(source.fileno(), device.platform)
        files = {"artifact": artifact, "stablehlo.mlir": text}
        self._store.put_entry("artifacts", key, traced, files)
        return traced

    async def _compile(self, key: str, artifact: str, traced: Traced, device: Device) -> Compiled:
        count = len(self._engine.devices())
        work = Compile(device.platform, device.id, count, traced.signature)
        with (self._store.entry("artifacts", artifact) / "artifact").open("rb") as file:
            compiled, executable, hlo = await self._tracer.compile(file.fileno(), work)
        files = {"executable": executable, "hlo.txt": hlo}
        self._store.put_entry("executables", key, compiled, files)
        return compiled

    def _key(self, *parts: object) -> str:
        return sha256(msgspec.json.encode([self._engine.toolchain, *parts]))

    def _executable_key(self, artifact: str, device: Device) -> str:
        return self._key("executable", artifact, device.name, len(self._engine.devices()))

    async def _once(self, key: str, make: Callable[[], Awaitable[Product]]) -> Product:
        """What ``make`` gives, once however many ask at the same time."""
        work = self._under_way.get(key)
        if work is None:

            async def make_and_land() -> Product:
                try:
                    return await make()
                finally:
                    del self._under_way[key]

            work = self._under_way[key] = Work(self._nursery, make_and_land)
        product: Product = await work.wait()
        return product
