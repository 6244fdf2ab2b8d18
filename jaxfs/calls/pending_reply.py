"""The reply to one request of a conversation, and what unread replies cost."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from jaxfs.arrays.long_texts import Content, release
from jaxfs.calls.call import now_usec, release_outcome
from jaxfs.calls.record import CallRecord, CallStats
from jaxfs.calls.user_queue import Run
from jaxfs.engine.interface import Outcome
from jaxfs.errors import Cancelled, OverQuota
from jaxfs.ipc.channel import INLINE_BYTES
from jaxfs.programs.compiled import CompiledProgram
from jaxfs.programs.program import Program
from jaxfs.quotas import FRONT, UNREAD, Quotas

MAX_BLOCK = 256  # unread replies that are charged at once


@attrs.define(eq=False)
class PendingReply:
    """The reply to one request: first its outcome arrives, then its bytes are read.

    Attributes:
        compiled: The program that runs.
        format: The format of the request and of the reply.
        program: The program that was called.
        stats: Counts the call when it has ended.
        uid: The user.
        input_bytes: The length of the request.
        begun_usec: When the request was complete; 0 where that is ``submitted_usec``.
        refund: Ends the charge of large outputs to the user.
        submitted_usec: When the run was passed to the scheduler.
        run: The run, until it has ended.
        outcome: How it ended.
        rope: The bytes of the reply, once they are encoded.
        offset: How many of them were read.
        dropped: Whether the reply will not be read.
        arrived: Set when the outcome is there.
    """

    compiled: CompiledProgram
    format: str
    program: Program
    stats: CallStats
    uid: int
    input_bytes: int
    begun_usec: int
    refund: Callable[[], None] | None = None
    submitted_usec: int = attrs.field(factory=now_usec)
    run: Run | None = None
    outcome: Outcome | None = None
    rope: Content | None = None
    offset: int = 0
    dropped: bool = False
    arrived: trio.Event = attrs.field(factory=trio.Event)

    def arrive(self, outcome: Outcome) -> None:
        """Takes the outcome of the run, and counts the call unless it was cancelled."""
        error = outcome.error
        if not isinstance(error, Cancelled):
            self.stats.add(
                CallRecord(
                    self.uid,
                    self.program,
                    "",
                    self.begun_usec or self.submitted_usec,
                    self.submitted_usec,
                    outcome.sent_usec,
                    outcome.started_usec,
                    outcome.run_usec,
                    now_usec(),
                    self.input_bytes,
                    self.compiled.executable.output_bytes,
                    error.errno_name if error else "",
                )
            )
        self.run = None  # it refers to the reply: a cycle would be work for the garbage collector
        if self.dropped:
            release_outcome(outcome)
            return
        self.outcome = outcome
        self.arrived.set()

    def drop(self) -> None:
        """Frees the outputs: the reply was read, or will not be."""
        release(self.rope)
        self.dropped, self.rope = True, None
        if self.outcome is not None:
            release_outcome(self.outcome)
            self.outcome = None
        if self.refund is not None:
            self.refund()
            self.refund = None


class Allowance:
    """How many unread replies of one open file are charged: in blocks, as each alone is small.

    Attributes:
        count: How many replies are charged.
        nbytes: The bytes of a request and its reply in this process that are charged for each.
    """

    __slots__ = ("_memory", "_quotas", "_replies", "_uid", "count", "nbytes")

    def __init__(self, quotas: Quotas, uid: int) -> None:
        self._quotas, self._uid = quotas, uid
        self._replies = quotas.charge(uid, UNREAD, 0)
        self._memory = quotas.charge(uid, FRONT, 0)
        self.count = self.nbytes = 0

    def charge(self, count: int, nbytes: int, output_bytes: int) -> Callable[[], None] | None:
        """Charges a reply that is not covered.

        Args:
            count: How many replies there will be.
            nbytes: The length of the request.
            output_bytes: The length of the outputs.

        Returns:
            What ends the charge of outputs in shared memory; None where there are none.

        Raises:
            OverQuota: The user has too much memory or too many unread replies.
        """
        self.cover(count, sum(n for n in (nbytes, output_bytes) if n <= INLINE_BYTES))
        if output_bytes <= INLINE_BYTES:
            return None
        return self._quotas.charge_memory(self._uid, output_bytes).refund

    def cover(self, count: int, nbytes: int) -> None:
        """Charges at least ``count`` replies of ``nbytes`` bytes.

        Raises:
            OverQuota: The user would have too many unread replies, or too much memory.
        """
        nbytes = max(nbytes, self.nbytes)
        if count > self.count:  # by more each time, up to a block
            try:
                self._resize(max(count, min(2 * self.count, self.count + MAX_BLOCK)), nbytes)
            except OverQuota:
                self._resize(count, nbytes)
        elif nbytes > self.nbytes:
            self._resize(self.count, nbytes)

    def _resize(self, count: int, nbytes: int) -> None:
        self._replies.resize(count)
        try:
            self._memory.resize(count * nbytes)
        except OverQuota:
            self._replies.resize(self.count)
            raise
        self.count, self.nbytes = count, nbytes

    def shrink(self) -> None:
        """Ends the charge of all but one reply: all were read."""
        if self.count > 1:
            self._resize(1, self.nbytes)

    def end(self) -> None:
        """Ends the charge: the file is closed."""
        self._replies.refund()
        self._memory.refund()
