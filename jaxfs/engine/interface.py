"""The engine as the front sees it: the narrow waist behind which devices stand.

A local engine is one process with shared memory; a distributed one may be a cluster.  Both take
artifacts or executables and typed buffers, answer asynchronously, and fail with the types of
``jaxfs.errors``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, Protocol

import msgspec

from jaxfs.engine.protocol import Device
from jaxfs.errors import JaxfsError
from jaxfs.ipc.shared_memory import Pool, Segment
from jaxfs.types.memory_layout import output_offsets
from jaxfs.types.signature import Signature

State = Literal["idle", "starting", "ready", "restarting", "failed"]


class Executable(msgspec.Struct, frozen=True):
    """Something the engine can run.  ``key`` is its content hash; ``path`` the file with its bytes.

    It runs on all of ``device_ids`` at once: arrays come and go whole, and are spread over them.

    The front never has to ask for it to be loaded: an engine loads it when it is first run, and
    again by itself after a restart.
    """

    key: str
    path: str
    device_ids: tuple[int, ...]
    signature: Signature
    serialized: bool = True
    output_bytes: int = -1  # worked out here, once

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "output_bytes", output_offsets(self.signature)[1])


class Range(msgspec.Struct, frozen=True):
    """Part of a held segment.  ``value`` numbers the array in it, if it has a name."""

    segment: Segment
    offset: int
    nbytes: int
    value: int = 0


Input = Range | bytes


class OutputRef(msgspec.Struct, frozen=True):
    """Part of the outputs of a run that was submitted as ``shared_as`` and has not ended."""

    run: int
    offset: int
    nbytes: int
    value: int = 0


class Outcome(msgspec.Struct, frozen=True):
    """How a run ended.  Outputs stand in ``outputs`` at ``protocol.output_offsets``.

    ``outputs`` is bytes for small results and a Range otherwise, whose segment the receiver now
    holds.  ``error`` is set instead when the run failed.  It was sent to the engine at
    ``sent_usec`` and began there at ``started_usec``, of CLOCK_MONOTONIC; 0: it did not.
    """

    outputs: Input = b""
    error: JaxfsError | None = None
    run_usec: int = 0
    sent_usec: int = 0
    started_usec: int = 0


class Engine(Protocol):
    """What every engine can do."""

    @property
    def pool(self) -> Pool:
        """Shared memory that this engine may map, and keep mapped for good."""

    @property
    def state(self) -> State:
        """Whether runs are served now, or later; ``failed``: not before a while has passed."""

    @property
    def pid(self) -> int:
        """The engine's process, 0 while there is none."""

    @property
    def restarts(self) -> int:
        """How often the engine died and was started again."""

    @property
    def toolchain(self) -> str:
        """The versions a compiled executable depends on."""

    @property
    def quarantined(self) -> Mapping[str, str]:
        """Why a program is refused, by ``Executable.key``."""

    def devices(self) -> tuple[Device, ...]:
        """The devices, known since the engine was first up."""

    def submit(
        self,
        executable: Executable,
        inputs: tuple[Input | OutputRef, ...],
        done: Callable[[Outcome], None],
        *,
        shared_as: int = 0,
    ) -> int:
        """Submit one run and return its number; never waits.

        ``done`` is called once, from the event loop and not before this returns, and must not
        raise.  The engine holds the inputs' segments, which must not be written to, until the run
        has ended.  Inputs match the signature: the caller has checked them.

        ``shared_as``, a number of ``sources.Source``, lets later runs take its outputs before it
        has ended: the engine then runs them in order by itself, and fails those whose inputs
        failed.  Outputs have numbers by it, under which they may stay on the device.
        """

    def poll(self, wait_s: float = 0.0) -> None:
        """Take the answers that are there already, without waiting for the event loop's turn.

        ``wait_s`` lets the whole event loop stand still for an answer: 50 us of this are cheaper
        than a turn of the loop, and most small runs end within them.
        """

    def cancel(self, number: int, *, kill: bool = False) -> None:
        """End a run with Cancelled.

        One that has started cannot be stopped by itself: its result is ignored, or with ``kill``
        the engine is ended and all other runs start again.
        """

    async def load(self, executable: Executable) -> None:
        """Make an executable ready now.  Raises RunFailed or NoSpace where the engine cannot."""

    async def statistics(self) -> dict[int, dict[str, int]]:
        """Memory figures by device id."""

    async def close(self) -> None:
        """End the engine; runs under way fail with Cancelled."""


class Engines(Protocol):
    """The engines of a mount, by user."""

    @property
    def toolchain(self) -> str:
        """The versions a compiled executable depends on, the same for all."""

    def devices(self) -> tuple[Device, ...]:
        """The devices each of them has."""

    def of(self, uid: int) -> Engine:
        """The engine that runs a user's calls; never waits, whether it has a process or not."""

    def all(self) -> tuple[Engine, ...]:
        """Those there are now, the mounting user's first."""
