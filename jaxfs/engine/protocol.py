"""The messages between the front and the process of a local engine.

Array data is in segments of shared memory that the front owns.  The descriptor of a segment is sent
once, with ``Attach``; ``Detach`` ends the use of its number.  Messages are handled in order;
replies to ``Execute`` are sent in the order the runs finish.  Times are in microseconds.
"""

from __future__ import annotations

import msgspec

from jaxfs.ipc.channel import VERSION
from jaxfs.ipc.shared_memory import SegmentRef
from jaxfs.posix.device_selection import Selection
from jaxfs.posix.privileges import User
from jaxfs.types.compile_target import CompileTarget
from jaxfs.types.signature import Signature
from jaxfs.types.xla_errors import Fault

INPUT_FAILED = "the run one of its inputs comes from failed"
MAX_UNDER_WAY = 256  # runs the front sends before it waits for answers
DIAGNOSTICS_BYTES = 16 << 10  # a message keeps the end of longer ones
DEVICE_FAILED = 86  # exit status of a worker that cannot use its devices any more


class EngineOptions(msgspec.Struct, frozen=True):
    """How a worker starts; one of its command-line arguments, as JSON.

    Attributes:
        platform: ``cpu``, ``cuda``, ``gpu``, as the mount option has it; empty for JAX's choice.
        devices: How many virtual CPU devices, or the first so many of others; 0 for all.
        cache_dir: Where the worker keeps what it compiles itself, in a directory of its user;
            empty for nowhere.
        device_cache_bytes: How much of named arrays may stay on each device; -1 for a default by
            platform.
        user: The user the process becomes; None for the front's own.
        visible_devices: The numbers or names of those that it may use; empty for all.
        memory_fraction: How much of a GPU's memory it may take; 0 for the default.
        preallocate: Whether it takes that at its start.
    """

    platform: str = ""
    devices: int = 0
    cache_dir: str = ""
    device_cache_bytes: int = -1
    user: User | None = None
    visible_devices: str = ""
    memory_fraction: float = 0.0
    preallocate: bool = False

    @property
    def selection(self) -> Selection:
        """The devices it may use."""
        return Selection(
            self.platform,
            self.devices,
            self.visible_devices,
            self.memory_fraction,
            self.preallocate,
            is_per_user=self.user is not None,
        )


class Device(msgspec.Struct, frozen=True):
    """What JAX reports about a device.

    Attributes:
        platform: ``cpu``, ``cuda`` ...
        id: Its number among all devices.
        kind: JAX's ``device_kind``.
        process_index: The process of a distributed JAX that owns it.
        local_hardware_id: Its number on this machine, if the platform has one.
        memory_kinds: Of its memories.
        default_memory: The kind of the memory that is used unless another is asked for.
        attributes: What differs between platforms.
        bytes_limit: How much of its own memory arrays may take; 0 where it has none, or where
            that is not known.
    """

    platform: str
    id: int
    kind: str
    process_index: int
    local_hardware_id: int | None
    memory_kinds: tuple[str, ...]
    default_memory: str
    attributes: dict[str, str]
    bytes_limit: int = 0

    @property
    def has_own_memory(self) -> bool:
        """Whether it has memory and a context that all runs share, as every device but a CPU."""
        return self.platform != "cpu"

    @property
    def name(self) -> str:
        """The name of the device's directory, ``cpu:0``."""
        return f"{self.platform}:{self.id}"


# From the front


class Attach(msgspec.Struct, frozen=True, tag=True):
    """A segment to map, with its descriptor.

    Attributes:
        segment: Its number.
        capacity: Its size in bytes.
    """

    segment: int
    capacity: int


class Detach(msgspec.Struct, frozen=True, tag=True):
    """Memory that is not used any more.

    Attributes:
        segments: The numbers of those to unmap.
        producers: The numbers of those that made arrays which have no name any more.
    """

    segments: tuple[int, ...]
    producers: tuple[int, ...] = ()


class Load(msgspec.Struct, frozen=True, tag=True):
    """An executable to make ready, with the descriptor of its file.

    Attributes:
        executable: The number it will have.
        device_ids: The devices it runs on.
        signature: The types of its inputs and outputs, without names.
        serialized: Whether the file is a compiled executable, or else an artifact that the worker
            compiles itself (platforms with a compiler that needs the device).
        digest: The SHA-256 that the file has to have; empty for any.
    """

    executable: int
    device_ids: tuple[int, ...]
    signature: Signature
    serialized: bool = True
    digest: str = ""


class Execute(msgspec.Struct, frozen=True, tag=True):
    """One run.

    Attributes:
        run: Its number.
        executable: The number of what to run.
        inputs: A range of a segment, or the bytes.
        output: Where the outputs are written, one after another at 64-byte boundaries; None if they
            are sent in the reply.
        after: Runs that were sent before and make inputs of this one: it begins when they have
            ended, and fails if one failed.
        keep: Outputs may stay on the device as the values ``keep``, ``keep + 1`` ...; 0: they may
            not.
        user: For whom it runs: the worker shares its devices between users.
    """

    run: int
    executable: int
    inputs: tuple[SegmentRef | bytes, ...]
    output: SegmentRef | None = None
    after: tuple[int, ...] = ()
    keep: int = 0
    user: int = 0


class Skip(msgspec.Struct, frozen=True, tag=True):
    """A run that waits for others and need not begin; it fails if it has not.

    Attributes:
        run: Its number.
    """

    run: int


class Statistics(msgspec.Struct, frozen=True, tag=True):
    """A request for memory figures, answered by ``MemoryStatistics``.

    Attributes:
        request: A number for the answer.
    """

    request: int


# From the worker


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The worker is up.

    Attributes:
        pid: Its process id.
        platform: JAX's.
        toolchain: The versions a compiled executable depends on.
        devices: Those it has.
        has_device_cache: Whether named arrays stay on its devices.
        target: What programs are compiled for; None for the platform without a description.
        version: Of these messages.
    """

    pid: int
    platform: str
    toolchain: str
    devices: tuple[Device, ...]
    has_device_cache: bool = False
    target: CompileTarget | None = None
    version: int = VERSION


class StartFailed(msgspec.Struct, frozen=True, tag=True):
    """The worker cannot start: JAX finds no such platform, a device is in use ...

    Attributes:
        reason: One line.
        diagnostics: The traceback.
    """

    reason: str
    diagnostics: str = ""


class CompileFigures(msgspec.Struct, frozen=True):
    """What XLA reports of an artifact that the worker compiled.

    Attributes:
        compile_usec: How long it took.
        cost: Its cost analysis: flops, bytes_accessed ...; empty where the platform has none.
        memory: Its memory analysis in bytes per device: temp_bytes ...; likewise.
    """

    compile_usec: int
    cost: dict[str, float] = {}
    memory: dict[str, int] = {}


class Loaded(msgspec.Struct, frozen=True, tag=True):
    """An executable is ready.

    Attributes:
        executable: Its number.
        load_usec: How long it took.
        compiled: Of an artifact.
    """

    executable: int
    load_usec: int
    compiled: CompileFigures | None = None


class LoadFailed(msgspec.Struct, frozen=True, tag=True):
    """An executable cannot be loaded; each ``Execute`` of it fails too.

    Attributes:
        executable: Its number.
        errno: The kind of the error.
        reason: One line.
        diagnostics: The traceback.
    """

    executable: int
    errno: int
    reason: str
    diagnostics: str = ""


class Done(msgspec.Struct, frozen=True, tag=True):
    """A run finished.

    Attributes:
        run: Its number.
        run_usec: How long it ran.
        outputs: If ``Execute`` named no place for them.
        started_usec: When it began, by CLOCK_MONOTONIC, which all processes of a machine share.
    """

    run: int
    run_usec: int
    outputs: bytes = b""
    started_usec: int = 0


class Failed(msgspec.Struct, frozen=True, tag=True):
    """A run failed.

    Attributes:
        run: Its number.
        errno: The kind of the error.
        reason: One line.
        diagnostics: The traceback.
    """

    run: int
    errno: int
    reason: str
    diagnostics: str = ""


class DeviceFailed(msgspec.Struct, frozen=True, tag=True):
    """The worker ends: it cannot use its devices any more.  No run under way is answered.

    Attributes:
        reason: One line.
        diagnostics: The traceback.
        fault: Whether one of the runs under way may have caused it, or the machine.
    """

    reason: str
    diagnostics: str = ""
    fault: Fault = "run"


class MemoryStatistics(msgspec.Struct, frozen=True, tag=True):
    """Memory figures of the devices.

    Attributes:
        request: The number it was asked with.
        memory: By device id, under JAX's names; empty if the platform has none.
    """

    request: int
    memory: dict[int, dict[str, int]]


Request = Attach | Detach | Load | Execute | Skip | Statistics
Reply = Ready | StartFailed | Loaded | LoadFailed | Done | Failed | DeviceFailed | MemoryStatistics
