"""What the front and the local engine process say to each other.

Array data is in segments of shared memory the front owns.  The descriptor of a segment comes once,
with ``Attach``; ``Detach`` says that its number will not be used again.  Messages are handled in
order; replies to ``Execute`` come in the order the runs finish.
"""

from __future__ import annotations

import msgspec

from jaxfs.ipc.channel import VERSION
from jaxfs.ipc.shared_memory import SegmentRef
from jaxfs.posix.privileges import User
from jaxfs.types.signature import Signature


class EngineOptions(msgspec.Struct, frozen=True):
    """How an engine process starts; its one command-line argument, as JSON.

    ``platform`` is what JAX calls it (``cpu``, ``cuda``), empty for JAX's choice; ``devices`` asks
    for so many virtual CPU devices; ``cache_dir`` keeps what the engine itself compiles.  ``user``
    is who the process becomes, None for the front's own user.
    """

    platform: str = ""
    devices: int = 0
    cache_dir: str = ""
    device_cache_bytes: int = -1  # of named arrays that stay on each device; -1: as devices.py says
    user: User | None = None


class Device(msgspec.Struct, frozen=True):
    """All that JAX tells of a device; ``attributes`` holds what differs between platforms."""

    platform: str
    id: int
    kind: str
    process_index: int
    local_hardware_id: int | None
    memory_kinds: tuple[str, ...]
    default_memory: str
    attributes: dict[str, str]

    @property
    def name(self) -> str:
        """``cpu:0``: the name of the device's directory."""
        return f"{self.platform}:{self.id}"


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The engine is up."""

    pid: int
    platform: str
    toolchain: str
    devices: tuple[Device, ...]
    has_device_cache: bool = False
    version: int = VERSION


class StartFailed(msgspec.Struct, frozen=True, tag=True):
    """The engine cannot start: JAX finds no such platform, a device is in use ..."""

    reason: str
    diagnostics: str = ""


class Attach(msgspec.Struct, frozen=True, tag=True):
    """One descriptor: segment number ``segment``, ``capacity`` bytes."""

    segment: int
    capacity: int


class Detach(msgspec.Struct, frozen=True, tag=True):
    """These segments are gone; unmap them.  Nobody has a name any more for the arrays of these
    sources."""

    segments: tuple[int, ...]
    producers: tuple[int, ...] = ()


class Load(msgspec.Struct, frozen=True, tag=True):
    """Make an executable ready under the number ``executable``.

    One descriptor: the serialized executable (``serialized``), or else the artifact, which the
    engine compiles itself (platforms whose compiler needs the device).
    """

    executable: int
    device_ids: tuple[int, ...]
    signature: Signature
    serialized: bool = True


class Unload(msgspec.Struct, frozen=True, tag=True):
    """Forget an executable; runs under way finish."""

    executable: int


class Execute(msgspec.Struct, frozen=True, tag=True):
    """Run once.

    An input is a range of a segment, or its bytes.  The outputs go, one after another at 64-byte
    boundaries, to ``output`` where given, else into the reply.  Inputs may be outputs of the calls
    ``after``, which were sent before: it runs when these have ended, and fails if one failed.
    Outputs may stay on the device as the values ``keep``, ``keep + 1`` ..., unless that is 0.
    """

    run: int
    executable: int
    inputs: tuple[SegmentRef | bytes, ...]
    output: SegmentRef | None = None
    after: tuple[int, ...] = ()
    keep: int = 0


class Skip(msgspec.Struct, frozen=True, tag=True):
    """Do not begin this call, which waits for others: nobody wants it any more.  It then fails."""

    run: int


class Statistics(msgspec.Struct, frozen=True, tag=True):
    """Ask for memory figures; answered by ``Stats``."""

    request: int


class Loaded(msgspec.Struct, frozen=True, tag=True):
    """``Load`` worked."""

    executable: int
    load_usec: int


class LoadFailed(msgspec.Struct, frozen=True, tag=True):
    """``Load`` did not; so will every ``Execute`` of it."""

    executable: int
    errno: int
    reason: str
    diagnostics: str = ""


class Done(msgspec.Struct, frozen=True, tag=True):
    """A run finished; ``outputs`` holds them when no segment was given.

    It began at ``started_usec`` of CLOCK_MONOTONIC, which all processes of a machine share.
    """

    run: int
    run_usec: int
    outputs: bytes = b""
    started_usec: int = 0


class Failed(msgspec.Struct, frozen=True, tag=True):
    """A run failed."""

    run: int
    errno: int
    reason: str
    diagnostics: str = ""


class MemoryStatistics(msgspec.Struct, frozen=True, tag=True):
    """A device's memory figures by device id, as JAX names them; empty where it tells none."""

    request: int
    memory: dict[int, dict[str, int]]


Request = Attach | Detach | Load | Unload | Execute | Skip | Statistics
Reply = Ready | StartFailed | Loaded | LoadFailed | Done | Failed | MemoryStatistics
INPUT_FAILED = "the run one of its inputs comes from failed"
MAX_UNDER_WAY = 256  # runs the front sends before it waits for answers
DIAGNOSTICS_BYTES = 16 << 10  # a message keeps the end of longer ones
