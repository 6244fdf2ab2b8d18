"""Everything that a mount has, in one value that the functions of node specs take."""

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
from jaxfs.ipc.wake_gate import WakeGate
from jaxfs.options import Options
from jaxfs.posix.credentials import SERIALS, Credentials, InodeAttr
from jaxfs.posix.node_object import FixedNodeObject, NodeObject
from jaxfs.programs.program import Program, root_of
from jaxfs.programs.program_registry import Programs
from jaxfs.programs.staged_file import StagedFile
from jaxfs.quotas import Quotas
from jaxfs.vfs.monitoring.error_log import ErrorLog
from jaxfs.vfs.monitoring.perfetto import Timeline


@attrs.define(eq=False)
class DeviceNode(FixedNodeObject):
    """A device as a directory.

    Attributes:
        device: What the engine knows of it.
        attr: Owner and times: the mount's.
        update_memory: Asks the engine for the memory figures of all devices.
        serial: The number of its inodes.
        memory: The figures of the last update, in bytes, by the names that JAX gives them.
    """

    device: Device
    attr: InodeAttr
    update_memory: Callable[[], Awaitable[None]]
    serial: int = attrs.field(factory=lambda: next(SERIALS))
    memory: dict[str, int] = attrs.field(factory=dict)


@attrs.define(eq=False)
class TransformPath(FixedNodeObject):
    """A composition of transformations as a directory.

    Attributes:
        steps: The transformations as the path spells them, the outermost first.
        attr: Owner and times: the mount's.
        serial: The number of its inodes.
    """

    steps: tuple[str, ...]
    attr: InodeAttr
    serial: int = attrs.field(factory=lambda: next(SERIALS))

    @property
    def canonical(self) -> tuple[str, ...]:
        """The steps with their options in order, as programs are found by them."""
        return tuple(parse(step).canonical for step in self.steps)


@attrs.define(eq=False)
class Mount(FixedNodeObject):
    """The components of one mount, and the figures that no component has.

    Attributes:
        options: The mount options.
        programs: The programs.
        calls: The calls, their results and the named arrays.
        engines: What runs executables.
        compiler: What turns sources into executables.
        attr: Owner and times of what belongs to the mount: those of the mounting user.
        errors: The last errors that users met.
        devices: The directories of devices, by name.
        transform_paths: The directories of transformations that are in use.
        serial: The number of its inodes.
        started_usec: When the daemon started, on the clock of `now_usec`.
        internal_errors: Requests that failed by a fault of jaxfs itself.
        inodes: Nodes that the kernel has references to.
        waiters: Requests that wait, or may have to.
        readers: Lets those that wait for the same result go on in portions.
        timeline: The last calls and jobs as a trace.
    """

    options: Options
    programs: Programs
    calls: Calls
    engines: Engines
    compiler: Compiler
    attr: InodeAttr
    errors: ErrorLog = attrs.field(factory=ErrorLog)
    devices: dict[str, DeviceNode] = attrs.field(factory=dict)
    transform_paths: WeakValueDictionary[tuple[str, ...], TransformPath] = attrs.field(
        factory=WeakValueDictionary
    )
    serial: int = attrs.field(factory=lambda: next(SERIALS))
    started_usec: int = attrs.field(factory=now_usec)
    internal_errors: int = 0
    inodes: int = 0
    waiters: int = 0
    readers: WakeGate = attrs.field(factory=WakeGate)
    timeline: Timeline = attrs.field(init=False)

    @timeline.default
    def _timeline(self) -> Timeline:
        return Timeline(self.calls.stats.recent, self.programs.jobs.recent)

    @property
    def quotas(self) -> Quotas:
        """What each user may cost."""
        return self.calls.admission.quotas

    def transform_path(self, steps: tuple[str, ...]) -> TransformPath:
        """Returns the directory of some transformations, the same one as long as it is in use.

        Its inode number follows from the object, so two objects would be two directories.
        """
        found = self.transform_paths.get(steps)
        if found is None:
            found = self.transform_paths[steps] = TransformPath(steps, self.attr)
        return found

    def add_devices(self) -> None:
        """Makes a directory of each device that the engine has.

        Devices that have one keep it: the kernel may know its inode number.  What memory they have
        limits runs from now on.
        """
        for device in self.engines.devices():
            if device.bytes_limit:
                self.calls.admission.memory_check.limits[device.name] = device.bytes_limit
            node = DeviceNode(device, self.attr, self.update_device_memory)
            self.devices.setdefault(device.name, node)

    async def update_device_memory(self) -> None:
        """Asks the mounting user's engine for the memory figures of the devices.

        Limits for all users come from these figures, so another user's engine may not supply them.
        """
        figures = await self.engines.all()[0].statistics()
        for node in self.devices.values():
            node.memory = figures.get(node.device.id, {})
            if "bytes_limit" in node.memory:
                self.calls.admission.memory_check.limits[node.device.name] = node.memory[
                    "bytes_limit"
                ]

    async def space(self) -> tuple[int, int]:
        """Returns total and free bytes for df(1).

        They are those of the devices' memory, or, on platforms that do not report it, those that
        results may take.
        """
        await self.update_device_memory()
        limits = [node.memory for node in self.devices.values() if "bytes_limit" in node.memory]
        total = sum(memory["bytes_limit"] for memory in limits)
        used = sum(memory.get("bytes_in_use", 0) for memory in limits)
        if not total:
            total, used = self.quotas.limit_bytes, self.quotas.result_bytes
        return total, max(0, total - used)

    def remember(self, node_object: NodeObject) -> None:
        """Stores owner, modes, times and bindings that changed, if they outlive the daemon.

        Raises:
            NoSpace: The disk of the state directory is full.
            RunFailed: The state directory cannot be written.
        """
        if isinstance(node_object, Program):
            self.programs.remember(root_of(node_object))
        elif isinstance(node_object, StagedFile):
            self.programs.staging.remember(node_object)

    def note(self, caller: Credentials, path: str, error: JaxfsError) -> None:
        """Keeps an error for `error_log`."""
        self.errors.add(caller.uid, path, error)
