"""Everything a mount has, in one value that the rows' functions take."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from weakref import WeakValueDictionary

import attrs

from jaxfs.calls.call import now_usec
from jaxfs.calls.call_registry import Calls
from jaxfs.compiler.compiler_interface import Compiler
from jaxfs.compiler.transforms.table import parse
from jaxfs.engine.interface import Engines
from jaxfs.engine.protocol import Device
from jaxfs.errors import JaxfsError
from jaxfs.options import Options
from jaxfs.posix.credentials import SERIALS, Credentials, InodeAttr
from jaxfs.programs.program import Program, root_of
from jaxfs.programs.program_registry import Programs
from jaxfs.vfs.monitoring.error_log import ErrorLog
from jaxfs.vfs.monitoring.perfetto import Timeline


@attrs.define(eq=False)
class DeviceNode:
    """A device as a directory; ``memory`` holds the figures of the last ``look``."""

    device: Device
    meta: InodeAttr
    look: Callable[[], Awaitable[None]]
    serial: int = attrs.field(factory=lambda: next(SERIALS))
    memory: dict[str, int] = attrs.field(factory=dict)


@attrs.define(eq=False)
class TransformPath:
    """Transformations as a directory; ``steps`` as they were written."""

    steps: tuple[str, ...]
    meta: InodeAttr
    serial: int = attrs.field(factory=lambda: next(SERIALS))

    @property
    def canonical(self) -> tuple[str, ...]:
        """``steps`` as programs know them."""
        return tuple(parse(step).canonical for step in self.steps)


@attrs.define(eq=False)
class Mount:
    """The parts of one mount.  ``meta`` is the mounting user's, for what belongs to the mount."""

    options: Options
    programs: Programs
    calls: Calls
    engines: Engines
    compiler: Compiler
    meta: InodeAttr
    errors: ErrorLog = attrs.field(factory=ErrorLog)
    devices: dict[str, DeviceNode] = attrs.field(factory=dict)
    transform_paths: WeakValueDictionary[tuple[str, ...], TransformPath] = attrs.field(
        factory=WeakValueDictionary
    )
    serial: int = attrs.field(factory=lambda: next(SERIALS))
    started_usec: int = attrs.field(factory=now_usec)
    internal_errors: int = 0
    inodes: int = 0  # that the kernel knows, and the tree keeps for it
    waiters: int = 0  # requests that wait or may have to
    timeline: Timeline = attrs.field(init=False)

    @timeline.default
    def _timeline(self) -> Timeline:
        return Timeline(self.calls.recent, self.programs.jobs.recent)

    def transform_path(self, steps: tuple[str, ...]) -> TransformPath:
        """The directory of some transformations, the same one while anybody knows it."""
        found = self.transform_paths.get(steps)
        if found is None:
            found = self.transform_paths[steps] = TransformPath(steps, self.meta)
        return found

    def learn_devices(self) -> None:
        """Make a directory of each device the engine has."""
        for device in self.engines.devices():
            self.devices.setdefault(device.name, DeviceNode(device, self.meta, self.learn_memory))

    async def learn_memory(self) -> None:
        """Look at the devices' memory figures, as the mounting user's engine tells them: another
        user's could tell what shuts everybody out.
        """
        figures = await self.engines.all()[0].statistics()
        for node in self.devices.values():
            node.memory = figures.get(node.device.id, {})
            if "bytes_limit" in node.memory:
                self.calls.memory_check.limits[node.device.name] = node.memory["bytes_limit"]

    async def space(self) -> tuple[int, int]:
        """Total and free bytes for df: the devices' memory where they tell, else results'."""
        await self.learn_memory()
        limits = [node.memory for node in self.devices.values() if "bytes_limit" in node.memory]
        total = sum(memory["bytes_limit"] for memory in limits)
        used = sum(memory.get("bytes_in_use", 0) for memory in limits)
        if not total:
            total, used = self.calls.quotas.limit_bytes, self.calls.quotas.result_bytes
        return total, max(0, total - used)

    def remember(self, subject: object) -> None:
        """Owner, mode or times changed: keep what outlives the daemon."""
        if isinstance(subject, Program):
            self.programs.remember(root_of(subject))

    def note(self, caller: Credentials, path: str, error: JaxfsError) -> None:
        """Keep an error for ``error_log``."""
        self.errors.add(caller.uid, path, error)
