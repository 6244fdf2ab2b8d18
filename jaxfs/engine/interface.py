"""The interface of an engine: all that the front knows about what runs its executables.

A local engine is one process with shared memory; a distributed one may be a cluster.  Both take
artifacts or executables and typed buffers, answer asynchronously, and fail with the types of
``jaxfs.errors``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal, Protocol

import msgspec

from jaxfs.engine.protocol import CompileFigures, Device
from jaxfs.errors import JaxfsError
from jaxfs.ipc.shared_memory import Pool, Segment
from jaxfs.types.compile_target import CompileTarget
from jaxfs.types.memory_layout import output_offsets
from jaxfs.types.signature import Signature

State = Literal["idle", "starting", "ready", "restarting", "failed"]


class Executable(msgspec.Struct, frozen=True):
    """Something an engine can run, on all of its devices at once.

    Arrays are passed whole, and the engine spreads them over the devices.  The front never has to
    ask for it to be loaded: an engine loads it when it is first run, and again after a restart.

    Attributes:
        key: The hash of its content.
        path: The file with its bytes.
        device_ids: The devices it was compiled for.
        signature: The types of its inputs and outputs.
        serialized: Whether the file is a compiled executable, or else an artifact that the engine
            compiles itself.
        digest: The SHA-256 of the file; empty where it is not known.
        output_bytes: The size of all outputs, each at a 64-byte boundary; computed here.

    >>> from jaxfs.types.avals import Aval
    >>> from jaxfs.types.signature import Param
    >>> double = Signature((Param("x", Aval("f32", (8,))),), (Param("", Aval("f32", (8,))),))
    >>> Executable("key", "/path", (0,), double).output_bytes
    32
    """

    key: str
    path: str
    device_ids: tuple[int, ...]
    signature: Signature
    serialized: bool = True
    digest: str = ""
    output_bytes: int = -1

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "output_bytes", output_offsets(self.signature)[1])


# Called with an executable that an engine cannot load, and the error; makes the file again where it
# is damaged, and calls its last argument once, with what can be loaded now or with an error.
Repair = Callable[
    [Executable, JaxfsError, Callable[[Executable | JaxfsError], None]],
    None,
]


class Range(msgspec.Struct, frozen=True):
    """Part of a segment that is retained.

    Attributes:
        segment: The segment.
        offset: In bytes.
        nbytes: The length.
        value: Numbers the array in it, if the array has a name; else 0.
    """

    segment: Segment
    offset: int
    nbytes: int
    value: int = 0


Input = Range | bytes


class OutputRef(msgspec.Struct, frozen=True):
    """Part of the outputs of a run that was submitted as ``shared_as`` and has not ended.

    Attributes:
        run: The run's number.
        offset: In bytes, in all of its outputs.
        nbytes: The length.
        value: Numbers the array, as in ``Range``.
    """

    run: int
    offset: int
    nbytes: int
    value: int = 0


class Outcome(msgspec.Struct, frozen=True):
    """How a run ended.

    Times are in microseconds, the two points in time of CLOCK_MONOTONIC and 0 if not reached.

    Attributes:
        outputs: All outputs at ``memory_layout.output_offsets``: bytes if they are few, else a
            Range with a segment that the receiver has to release.
        error: Why the run failed; None if it did not.
        run_usec: How long it ran.
        sent_usec: When it was sent to the engine.
        started_usec: When it began there.
        compiled: Of an artifact that was only to be loaded, and was compiled now.
    """

    outputs: Input = b""
    error: JaxfsError | None = None
    run_usec: int = 0
    sent_usec: int = 0
    started_usec: int = 0
    compiled: CompileFigures | None = None


class Engine(Protocol):
    """What every engine can do."""

    @property
    def pool(self) -> Pool:
        """Shared memory that this engine may map, and keep mapped from then on."""

    @property
    def state(self) -> State:
        """Whether runs are served now, or later; ``failed``: not before a while has passed."""

    @property
    def failure(self) -> str:
        """Why the state is ``failed``; empty in another one."""

    @property
    def pid(self) -> int:
        """The engine's process id, 0 while there is none."""

    @property
    def restarts(self) -> int:
        """How often the engine died and was started again."""

    @property
    def device_fault(self) -> str:
        """Why the worker before this one could not use its devices any more; empty if it could."""

    @property
    def toolchain(self) -> str:
        """The versions a compiled executable depends on."""

    @property
    def quarantined(self) -> Mapping[str, str]:
        """Why a program is refused, by ``Executable.key``."""

    def devices(self) -> tuple[Device, ...]:
        """Returns the devices, known since the engine was first up."""

    def submit(
        self,
        executable: Executable,
        inputs: tuple[Input | OutputRef, ...],
        done: Callable[[Outcome], None],
        *,
        shared_as: int = 0,
        user: int = 0,
    ) -> int:
        """Submits one run and returns its number; never waits.

        The engine retains the inputs' segments, which must not be written to, until the run has
        ended.

        Args:
            executable: What to run.
            inputs: They match the signature: the caller has checked them.
            done: Called once with the outcome, from the event loop and not before this returns.
                Must not raise.
            shared_as: The number of a producer.  Later runs may then take the outputs of this one
                before it has ended: the engine runs them in order by itself, and fails those with
                failed inputs.  The outputs have numbers under which they may stay on the device.
            user: For whom it runs: users share the devices fairly.
        """

    def poll(self, wait_s: float = 0.0) -> None:
        """Takes the answers that are there, without waiting for the event loop's turn.

        Args:
            wait_s: Seconds for which the whole event loop waits busily for an answer: 50 us of this
                are cheaper than a turn of the loop, and most small runs end within them.
        """

    def cancel(self, number: int, *, kill: bool = False) -> bool:
        """Ends a run with Cancelled.

        One that has started cannot be stopped by itself: its result is ignored.

        Args:
            number: The run; nothing happens if it has ended.
            kill: Whether the worker is ended if the run has started; all other runs then start
                again.

        Returns:
            Whether the run has started and not ended: the worker computes it, or did until now.
        """

    def is_loading(self, number: int) -> bool:
        """Returns whether a run has not begun because its executable is compiled or loaded."""

    def take_accused(self) -> list[int]:
        """Returns the users that workers probably died of since the last call."""

    async def load(
        self, executable: Executable, timeout_s: float = math.inf
    ) -> CompileFigures | None:
        """Makes an executable ready now.

        Args:
            executable: The executable, or an artifact that the engine compiles.
            timeout_s: After so many seconds the worker is ended: what compiles cannot be stopped
                otherwise, and may keep the device from all runs.

        Returns:
            The compiler's figures if the engine compiled it now.

        Raises:
            Invalid: The compiler refused the program.
            RunFailed: The engine cannot load it.
            NoSpace: There is no memory for it.
            TimedOut: It took too long.
        """

    async def statistics(self) -> dict[int, dict[str, int]]:
        """Returns memory figures by device id."""

    async def close(self) -> None:
        """Ends the engine; runs under way fail with Cancelled."""


class Engines(Protocol):
    """The engines of a mount, by user."""

    @property
    def toolchain(self) -> str:
        """The versions a compiled executable depends on, the same for all."""

    @property
    def target(self) -> CompileTarget:
        """What programs are compiled for, the same for all."""

    def devices(self) -> tuple[Device, ...]:
        """Returns the devices each of them has."""

    def of(self, uid: int, /) -> Engine:
        """Returns the engine that runs a user's calls; never waits, even if it has no process."""

    def all(self) -> tuple[Engine, ...]:
        """Returns those there are now, the mounting user's first."""

    def separate(self, uid: int, /) -> Engine | None:
        """Moves a user's runs from the engine that ``of`` returns to one that few others have.

        What they all run goes on.  The numbers of runs stay as they are.

        Returns:
            The engine for what the user submits from now on, with the same pool; None if the
            platform has no second one.
        """

    async def prepare(self) -> None:
        """Waits until the others' next worker is up, so that they need not wait for its start.

        To be called before ``separate``, and before the worker of others is ended.  It returns at
        once where there can be no such worker, and also where it cannot be started.
        """

    def rejoin(self, uid: int, /) -> None:
        """Ends what ``separate`` began: the user, who has no run, is back with all others."""

    def repair_with(self, repair: Repair, /) -> None:
        """Lets all engines, also later ones, ask for executables that they cannot load.

        The runs that need one wait for it.
        """
