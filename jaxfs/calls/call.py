"""A call: inputs, one run, and the result that is kept under its id."""

from __future__ import annotations

import time

import attrs
import trio

from jaxfs.calls.queue import Ticket
from jaxfs.codecs.buffers import TypedBuffer
from jaxfs.engine.interface import Outcome, Range
from jaxfs.engine.protocol import output_offsets
from jaxfs.errors import Cancelled, JaxfsError, NotReady, RunFailed, TimedOut
from jaxfs.ownership import SERIALS, Meta
from jaxfs.programs.program import Program
from jaxfs.programs.version import Version
from jaxfs.wire.memory import Segment


def now_usec() -> int:
    """A clock for durations."""
    return time.monotonic_ns() // 1000


@attrs.define(eq=False)
class Call:
    """States: writing -> running -> done | failed | cancelled.

    ``version`` is known from submission on, and with it the exact size of the result.  ``format``
    is what the inputs came in, empty for "told by the content".
    """

    id: str
    program: Program
    meta: Meta
    format: str = ""
    state: str = "writing"
    version: Version | None = None
    error: JaxfsError | None = None
    outcome: Outcome | None = None
    ticket: Ticket | None = None  # from submission on
    input_bytes: int = 0
    submitted_usec: int = 0
    ended_usec: int = 0
    listed: bool = True  # whether calls/<id> is still there
    modes: dict[str, int] = attrs.field(factory=dict)
    serial: int = attrs.field(factory=lambda: next(SERIALS))
    done: trio.Event = attrs.field(factory=trio.Event)
    views: dict[str, object] = attrs.field(factory=dict)

    @property
    def has_ended(self) -> bool:
        return self.done.is_set()

    @property
    def run_usec(self) -> int:
        return self.outcome.run_usec if self.outcome else 0

    @property
    def total_usec(self) -> int:
        """From submission to the end, or until now."""
        return (self.ended_usec or now_usec()) - self.submitted_usec if self.submitted_usec else 0

    def begin(self, version: Version, input_bytes: int, ticket: Ticket) -> None:
        """The inputs are complete and right."""
        self.state, self.version, self.error = "running", version, None
        self.ticket = ticket
        self.input_bytes, self.submitted_usec = input_bytes, now_usec()

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
        self._close("failed" if outcome.error else "done")

    def cancel(self, reason: str) -> None:
        """Nobody wants the result any more."""
        if not self.has_ended:
            self.error = Cancelled(reason)
            self._close("cancelled")

    def _close(self, state: str) -> None:
        self.state, self.ended_usec = state, now_usec()
        self.meta.touch()
        self.done.set()

    def outputs(self) -> list[TypedBuffer]:
        """The outputs, as they stand in memory.  Raises NotReady, or the call's own error."""
        self.raise_error()
        if self.outcome is None and self.has_ended:
            raise Cancelled(f"results/{self.id} was removed")
        if self.outcome is None or self.version is None:
            raise NotReady(f"results/{self.id} is not there yet")
        return typed_outputs(self.version, self.outcome)

    def raise_error(self) -> None:
        """Raise as a reader of the result meets it: ECANCELED, ETIMEDOUT, EIO for all else."""
        if self.error is None:
            return
        kind = type(self.error) if isinstance(self.error, Cancelled | TimedOut) else RunFailed
        error = kind(self.error.reason, self.error.diagnostics)
        error.is_logged = True
        raise error

    def hold(self) -> Segment | None:
        """Shared memory of the result, to be released by whoever reads it: an open file can be
        read to its end after it was removed."""
        if self.outcome is None or not isinstance(self.outcome.outputs, Range):
            return None
        return self.outcome.outputs.segment.retain()

    def rest(self) -> None:
        """Nobody reads the result for now."""
        if self.outcome is not None and isinstance(self.outcome.outputs, Range):
            self.outcome.outputs.segment.rest()

    def free(self) -> None:
        """Give the result's memory back."""
        self.views.clear()
        if self.outcome is not None:
            release(self.outcome)
            self.outcome = None


def release(outcome: Outcome) -> None:
    """Let go of the memory an outcome holds."""
    if isinstance(outcome.outputs, Range):
        outcome.outputs.segment.release()


def typed_outputs(version: Version, outcome: Outcome) -> list[TypedBuffer]:
    """An outcome's outputs without a copy; valid while the outcome is held."""
    offsets, _ = output_offsets(version.signature)
    held = outcome.outputs
    if isinstance(held, Range):
        whole = held.segment.view(held.offset, held.nbytes)
    else:
        whole = memoryview(held)
    avals = version.signature.output_avals
    return [
        TypedBuffer(aval, whole[start : start + aval.nbytes])
        for aval, start in zip(avals, offsets, strict=True)
    ]
