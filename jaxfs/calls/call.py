"""A call: inputs, one run, and the result that is kept under its id."""

from __future__ import annotations

import time

import attrs

from jaxfs.arrays.producers import ArrayRef, Producer, split_outputs
from jaxfs.arrays.run_inputs import ScheduledRun
from jaxfs.engine.interface import Input, Outcome, Range
from jaxfs.errors import Cancelled, JaxfsError, NotReady, RunFailed, TimedOut
from jaxfs.posix.credentials import SERIALS, InodeAttr
from jaxfs.posix.node_object import NodeMode, OwnedNodeObject
from jaxfs.programs.compiled import CompiledProgram
from jaxfs.programs.program import Program
from jaxfs.types.buffers import TypedBuffer
from jaxfs.types.signature import Param

RESULT = "result"  # the key of a result's own mode, once it was changed


def now_usec() -> int:
    """A clock for durations."""
    return time.monotonic_ns() // 1000


@attrs.define(eq=False)
class Call(Producer, OwnedNodeObject):
    """States: writing -> running -> done | failed | cancelled.

    ``version`` is known from submission on, and with it the exact size of the result.  ``format``
    is what the inputs came in, empty for "told by the content".
    """

    id: str
    program: Program
    attr: InodeAttr
    format: str = ""
    state: str = "writing"
    compiled: CompiledProgram | None = None
    outcome: Outcome | None = None
    input_bytes: int = 0
    begun_usec: int = 0  # when its inputs were complete, right or not
    submitted_usec: int = 0
    ended_usec: int = 0
    listed: bool = True  # whether calls/<id> is still there
    modes: dict[str, int] = attrs.field(factory=dict)
    serial: int = attrs.field(factory=lambda: next(SERIALS))

    @property
    def params(self) -> tuple[Param, ...]:
        return self.compiled.signature.outputs if self.compiled else ()

    @property
    def memory(self) -> Input | None:
        return self.outcome.outputs if self.outcome and not self.outcome.error else None

    @property
    def result_mode(self) -> int:
        """The permission bits of its result."""
        return self.modes.get(RESULT, self.attr.mode) & 0o444

    @property
    def run_usec(self) -> int:
        return self.outcome.run_usec if self.outcome else 0

    @property
    def total_usec(self) -> int:
        """From submission to the end, or until now."""
        return (self.ended_usec or now_usec()) - self.submitted_usec if self.submitted_usec else 0

    def begin(
        self, version: CompiledProgram, input_bytes: int, run: ScheduledRun, submitted_usec: int
    ) -> None:
        """The inputs are complete and right."""
        self.state, self.compiled, self.error = "running", version, None
        self.run = run
        self.input_bytes, self.submitted_usec = input_bytes, submitted_usec

    def reject(self, error: JaxfsError) -> None:
        """The inputs were not right: nothing ran, and the id may be written again."""
        self.state, self.error = "failed", error

    @property
    def is_rejected(self) -> bool:
        """Whether the call failed before it was submitted."""
        return self.state == "failed" and not self.submitted_usec

    @property
    def is_unreachable(self) -> bool:
        """Whether nothing shows it any more: never submitted, and the program is gone."""
        return self.state == "writing" and self.program.removed

    def end(self, outcome: Outcome) -> None:
        """The engine has answered."""
        if self.has_ended:  # cancelled meanwhile
            release(outcome)
            return
        self.outcome, self.error = outcome, outcome.error
        if isinstance(outcome.error, Cancelled):
            self._close("cancelled")
        else:
            self._close("failed" if outcome.error else "done")

    def cancel(self, reason: str) -> None:
        """Nobody wants the result any more."""
        if not self.has_ended:
            self.error = Cancelled(reason)
            self._close("cancelled")

    def _close(self, state: str) -> None:
        self.state, self.ended_usec = state, now_usec()
        self.attr.touch()
        self.done.set()

    def content(self) -> ArrayRef:
        """Returns a reference to all outputs."""
        return ArrayRef(self, f"results/{self.id}")

    def outputs(self) -> list[TypedBuffer]:
        """The outputs, as they stand in memory.  Raises NotReady, or the call's own error."""
        self.raise_error()
        if self.outcome is None and self.has_ended:
            raise Cancelled(f"results/{self.id} was removed")
        if self.outcome is None or self.compiled is None:
            raise NotReady(f"results/{self.id} is not there yet")
        return typed_outputs(self.compiled, self.outcome)

    def raise_error(self) -> None:
        """Raise as a reader of the result meets it: ECANCELED, ETIMEDOUT, EIO for all else."""
        if self.error is None:
            return
        kind = type(self.error) if isinstance(self.error, Cancelled | TimedOut) else RunFailed
        error = kind(self.error.reason, self.error.diagnostics)
        error.is_logged = True
        raise error

    def drop(self) -> None:
        """Stop what runs, give the result's memory back."""
        if not self.has_ended and self.run is not None:
            self.cancel(f"results/{self.id} was removed")
            self.run.kill()
        self.cancel(f"results/{self.id} was removed")
        if self.outcome is not None:
            release(self.outcome)
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
        """Changes the mode of the call, or of all files of its result."""
        if spec.is_primary:
            self.attr.mode = mode & spec.mode
        else:
            self.modes[RESULT] = mode & 0o444


def release(outcome: Outcome) -> None:
    """Let go of the memory an outcome holds."""
    if isinstance(outcome.outputs, Range):
        outcome.outputs.segment.release()


def typed_outputs(version: CompiledProgram, outcome: Outcome) -> list[TypedBuffer]:
    """An outcome's outputs without a copy; valid while the outcome is held."""
    return split_outputs(version.signature.outputs, outcome.outputs)
