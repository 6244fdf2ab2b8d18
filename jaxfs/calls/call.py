"""A call: a program's inputs, one run, and the result that is kept under the call's id."""

from __future__ import annotations

import time

import attrs
import msgspec
import trio

from jaxfs.arrays.array_refs import ArrayRef
from jaxfs.arrays.producers import Producer, split_outputs
from jaxfs.arrays.run_inputs import ScheduledRun
from jaxfs.engine.interface import Input, Outcome, Range
from jaxfs.errors import Cancelled, JaxfsError, NotReady, RunFailed, TimedOut
from jaxfs.posix.credentials import SERIALS, InodeAttr
from jaxfs.posix.node_object import NodeMode, OwnedNodeObject
from jaxfs.programs.compiled import CompiledProgram
from jaxfs.programs.program import Program
from jaxfs.quotas import Charge
from jaxfs.types.buffers import TypedBuffer
from jaxfs.types.signature import Param

RESULT = "result"  # the key of the result's mode in ``Call.modes``


def now_usec() -> int:
    """Returns microseconds of CLOCK_MONOTONIC, for durations.

    The engine's times are of the same clock, which all processes share, and can be subtracted.
    """
    return time.monotonic_ns() // 1000


@attrs.define(eq=False)
class Call(Producer, OwnedNodeObject):
    """One call of a program.

    It is created in state ``writing``.  From submission on it is ``running``, its compiled program
    is known and with it the exact size of the result; it ends as ``done``, ``failed`` or
    ``cancelled``.  Inputs that are refused make it ``failed`` without a run, and its file may be
    written again.

    Attributes:
        id: Its name in ``calls/`` and ``results/``.
        program: The program it calls.
        attr: Owner, mode and times of the call; the result has the same owner.
        format: The format of the inputs, or empty to detect it.
        state: writing, running, done, failed or cancelled.
        compiled: What runs; None before submission.
        outcome: How the run ended; None before that, and after the result was freed.
        input_bytes: The length of the inputs as they were written.
        begun_usec: When the inputs were complete, valid or not; 0 before.
        submitted_usec: When the run was passed to the scheduler; 0 before.
        ended_usec: When the call ended; 0 before.
        listed: Whether ``calls/<id>`` is still there.
        opening: Set when the file that may submit it without bytes is closed, if it is one.
        modes: Permission bits that chmod changed, by file.
        place: What it costs its user to be kept, besides its memory.
        serial: Numbers its inodes.
    """

    id: str
    program: Program
    attr: InodeAttr
    format: str = ""
    state: str = "writing"
    compiled: CompiledProgram | None = None
    outcome: Outcome | None = None
    input_bytes: int = 0
    begun_usec: int = 0
    submitted_usec: int = 0
    ended_usec: int = 0
    listed: bool = True
    opening: trio.Event | None = None
    modes: dict[str, int] = attrs.field(factory=dict)
    place: Charge | None = None
    serial: int = attrs.field(factory=lambda: next(SERIALS))

    @property
    def params(self) -> tuple[Param, ...]:
        """The names and types of the outputs; empty before submission."""
        return self.compiled.signature.outputs if self.compiled else ()

    @property
    def memory(self) -> Input | None:
        """The memory of the outputs; None while there are none."""
        return self.outcome.outputs if self.outcome and not self.outcome.error else None

    @property
    def result_mode(self) -> int:
        """The permission bits of the result."""
        return self.modes.get(RESULT, self.attr.mode) & 0o444

    @property
    def run_usec(self) -> int:
        """How long the run took in the engine; 0 before its end."""
        return self.outcome.run_usec if self.outcome else 0

    @property
    def total_usec(self) -> int:
        """The time from submission to the end, or to now; 0 before submission."""
        return (self.ended_usec or now_usec()) - self.submitted_usec if self.submitted_usec else 0

    @property
    def shown_path(self) -> str:
        """The path of the file that shows it, and frees its id when it is removed."""
        is_written = self.state == "writing" and self.listed
        return f"{self.program.path}/calls/{self.id}" if is_written else f"results/{self.id}"

    @property
    def is_opening(self) -> bool:
        """Whether it is submitted soon, when the file that was opened for it is closed."""
        return self.opening is not None and not self.opening.is_set()

    @property
    def is_rejected(self) -> bool:
        """Whether the call failed before it was submitted."""
        return self.state == "failed" and not self.submitted_usec

    @property
    def is_unreachable(self) -> bool:
        """Whether no file shows it: it was never submitted and its program was removed."""
        return self.state == "writing" and self.program.removed

    def begin(
        self, compiled: CompiledProgram, input_bytes: int, run: ScheduledRun, submitted_usec: int
    ) -> None:
        """Records that the run was submitted."""
        self.state, self.compiled, self.error = "running", compiled, None
        self.run = run
        self.input_bytes, self.submitted_usec = input_bytes, submitted_usec

    def reject(self, error: JaxfsError) -> None:
        """Records that the inputs were refused; other inputs can be written to the call.

        Args:
            error: Why; readers of the result get its reason.
        """
        self.state, self.error = "failed", error
        self.wake_watchers()

    def end(self, outcome: Outcome) -> None:
        """Records how the run ended; ignores the outcome of a call that was cancelled before."""
        if self.has_ended:
            release_outcome(outcome)
            return
        self.error = outcome.error
        self.outcome = outcome
        if outcome.error is not None:  # which may have many lines
            self.outcome = msgspec.structs.replace(outcome, error=self.error)
        if isinstance(outcome.error, Cancelled):
            self._close("cancelled")
        else:
            self._close("failed" if outcome.error else "done")

    def cancel(self) -> None:
        """Ends the call if it has not ended, and kills its run: the result was removed."""
        if self.has_ended:
            return
        self.error = Cancelled(f"results/{self.id} was removed")
        run = self.run
        self._close("cancelled")
        if run is not None:
            run.kill()

    def _close(self, state: str) -> None:
        """Ends the call in a state, now, and wakes up those that wait for it."""
        self.state, self.ended_usec = state, now_usec()
        self.run = None  # results are kept by the thousand
        self.attr.touch()
        self.done.set()
        self.wake_watchers()

    def content(self) -> ArrayRef:
        """Returns a reference to all outputs."""
        return ArrayRef(self, f"results/{self.id}")

    def outputs(self) -> list[TypedBuffer]:
        """Returns the outputs, without a copy.

        Raises:
            NotReady: The run has not ended.
            Cancelled: The call was cancelled, or its result removed.
            TimedOut: The run took too long.
            RunFailed: The call failed for any other reason.
        """
        self.raise_error()
        if self.outcome is None and self.has_ended:
            raise Cancelled(f"results/{self.id} was removed")
        if self.outcome is None or self.compiled is None:
            raise NotReady(f"results/{self.id} is not there yet")
        return typed_outputs(self.compiled, self.outcome)

    def raise_error(self) -> None:
        """Raises the call's error for a reader of the result, if it has one.

        Raises:
            Cancelled: The call was cancelled.
            TimedOut: The run took too long.
            RunFailed: The call failed for any other reason; the reader gets EIO, not its errno.
        """
        if self.error is None:
            return
        kind = type(self.error) if isinstance(self.error, Cancelled | TimedOut) else RunFailed
        error = kind(self.error.reason, self.error.diagnostics)
        error.is_logged = True
        raise error

    def drop(self) -> None:
        """Frees the result's memory, and cancels the call if it has not ended."""
        self.cancel()
        if self.outcome is not None:
            release_outcome(self.outcome)
            self.outcome = None

    def mode_of(self, spec: NodeMode) -> int:
        """Returns the mode of the call for its own file, else that of the result.

        The files of a result have the mode of the call less the write bits, until one of them is
        given another.
        """
        if spec.is_primary:
            return self.attr.mode
        return self.modes.get(RESULT, self.attr.mode) & spec.mode

    def set_mode(self, spec: NodeMode, mode: int) -> None:
        """Changes the mode of the call, or of all files of its result.

        Args:
            spec: The file: the call's own file is the primary one, others are of the result.
            mode: The new permission bits; a result is never writable.
        """
        if spec.is_primary:
            self.attr.mode = mode & spec.mode
        else:
            self.modes[RESULT] = mode & 0o444


def release_outcome(outcome: Outcome) -> None:
    """Releases the memory of an outcome; arrays of it must not be used any more.

    Outputs that came as ``bytes`` in the engine's message need no release.
    """
    if isinstance(outcome.outputs, Range):
        outcome.outputs.segment.release()


def typed_outputs(compiled: CompiledProgram, outcome: Outcome) -> list[TypedBuffer]:
    """Returns the arrays of an outcome, without a copy; valid while the outcome is held.

    Returns:
        One buffer for each output of the program's signature, in order.
    """
    return split_outputs(compiled.signature.outputs, outcome.outputs)
