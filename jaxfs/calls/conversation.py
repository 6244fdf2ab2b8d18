"""The file ``call``: requests in, replies out, on one open file, as often as wanted.

Replies come in the order of the requests, as one stream; end of file is told when every request so
far has been answered and read.  Offsets mean nothing here: the file is a pipe to the program.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs
import trio

from jaxfs.arrays.inputs import format_of
from jaxfs.arrays.run_inputs import RunInput, release_inputs
from jaxfs.arrays.views import encode
from jaxfs.calls.call import now_usec, release, typed_outputs
from jaxfs.calls.call_registry import Calls
from jaxfs.calls.fast_path import FastPath, fast_path_for
from jaxfs.calls.record import CallRecord
from jaxfs.calls.scheduler import Run
from jaxfs.codecs.formats import format_named
from jaxfs.codecs.framing import Framer
from jaxfs.compiler.job_protocol import UntypedProgram
from jaxfs.engine.interface import Outcome
from jaxfs.errors import Cancelled, NotReady, OverQuota, RunFailed, TimedOut
from jaxfs.ipc.channel import INLINE_BYTES
from jaxfs.posix.credentials import Credentials
from jaxfs.programs.compiled import CompiledProgram
from jaxfs.programs.program import Program
from jaxfs.types.buffers import Rope

REPLY_WAIT_S = 50e-6  # standing still so long is cheaper than a turn of the event loop
MISSES_COST = 8  # so many requests do not stand still after a wait in vain: cores are scarce
QUICK_WAIT_S = 100e-6  # for programs that mostly end within a fraction of it
MAX_UNREAD = 1 << 16  # replies; who goes on asking and never reads is told so


@attrs.define(eq=False)
class _PendingReply:
    """What one request gets: an outcome once there is one, then its bytes."""

    compiled: CompiledProgram
    form: str
    program: Program
    calls: Calls
    uid: int
    input_bytes: int
    begun_usec: int  # 0: when it was asked
    refund: Callable[[], None] | None = None  # of the memory that large outputs take
    asked_usec: int = attrs.field(factory=now_usec)
    run: Run | None = None
    outcome: Outcome | None = None
    rope: Rope | None = None
    offset: int = 0
    dropped: bool = False
    arrived: trio.Event = attrs.field(factory=trio.Event)

    def arrive(self, outcome: Outcome) -> None:
        if not isinstance(outcome.error, Cancelled):
            self._count(outcome)
        self.run = None  # it knows us too: a circle is work for the garbage collector
        if self.dropped:
            release(outcome)
            return
        self.outcome = outcome
        self.arrived.set()

    def _count(self, outcome: Outcome) -> None:
        self.calls.count(
            CallRecord(
                self.uid,
                self.program,
                "",
                self.begun_usec or self.asked_usec,
                self.asked_usec,
                outcome.sent_usec,
                outcome.started_usec,
                outcome.run_usec,
                now_usec(),
                self.input_bytes,
                self.compiled.executable.output_bytes,
                outcome.error.errno_name if outcome.error else "",
            )
        )

    def drop(self) -> None:
        """Nobody reads it (any more)."""
        self.dropped, self.rope = True, None
        if self.outcome is not None:
            release(self.outcome)
            self.outcome = None
        if self.refund is not None:
            self.refund()
            self.refund = None

    async def encoded(self, outcome: Outcome) -> Rope:
        """The reply's bytes, in the format of the request."""
        if self.rope is None:
            outputs = typed_outputs(self.compiled, outcome)
            self.rope = await encode(self.form, self.compiled.signature.outputs, outputs)
        return self.rope


class Conversation:
    """One open ``call`` of a user.

    ``form`` is fixed by the suffix, or empty: each request tells its own.
    """

    def __init__(self, calls: Calls, program: Program, form: str, caller: Credentials) -> None:
        self._calls = calls
        self._program = program
        self._fixed = form
        self._caller = caller
        self._uid = uid = caller.uid
        self._queue = calls.scheduler(uid)
        self._replies: deque[_PendingReply] = deque()
        self._spool = calls.spool(uid)
        self._framer: Framer | None = None
        self._form = ""
        self._plan: FastPath | None = None
        self._hurried = 0
        self._asked: trio.Event | None = None  # made where somebody polls

    async def write(self, data: bytes) -> int:
        """Take a piece of a request; whatever is complete with it starts to run.

        Raises Invalid (the request is dropped, the next write begins the next one), TooBig,
        BrokenProgram, NoSpace, OverQuota.
        """
        served = self._program.compiled or await self._program.wait_compiled()
        try:
            self._make_room(served, len(data))
            self._spool.append(data)
            if isinstance(served, CompiledProgram):
                await self._submit_complete(served)
            elif not self._form:  # nobody knows how much belongs to a request but who writes it
                self._form = format_of(self._spool, self._fixed)
        except BaseException:
            self._reset()
            raise
        return len(data)

    def write_now(self, data: bytes) -> bool:
        """Take a whole small raw request, without a turn of the event loop; False for others.

        A reply that comes at once is taken at once too, while nobody else waits for one: the event
        loop then has no reason to wake up for it.
        """
        version = self._program.compiled
        if self._fixed != "raw" or version is None or self._spool.size or self._program.inputs:
            return False
        if self._plan is None or self._plan.version is not version:
            self._plan = fast_path_for(version)
        if self._plan is None or len(data) != self._plan.nbytes:
            return False
        self._run(version, "raw", self._plan.split(data), len(data))
        if self._hurried:
            self._hurried -= 1
        elif len(self._replies) == 1 and self._program.stats.is_quick:
            self._queue.poll(QUICK_WAIT_S)
            if self._replies and self._replies[0].outcome is None:
                self._hurried = MISSES_COST
        return True

    def read_now(self, size: int) -> bytes | None:
        """A whole small raw reply that is there already, or None."""
        if not self._replies or self._spool.size or self._plan is None:
            return None
        reply = self._replies[0]
        if reply.outcome is None or reply.offset or reply.compiled is not self._plan.version:
            return None
        data = self._plan.reply(reply.outcome) if reply.form == "raw" else None
        if data is None or len(data) > size:
            return None
        self._replies.popleft()
        return data

    def _make_room(self, served: CompiledProgram | UntypedProgram, nbytes: int) -> None:
        if self._spool.size == 0 and nbytes > INLINE_BYTES // 4:
            expected = 0
            if isinstance(served, CompiledProgram):
                expected = sum(aval.nbytes + 256 for aval in served.signature.input_avals)
            self._spool = self._calls.spool(self._uid, max(nbytes, expected))

    async def _submit_complete(self, version: CompiledProgram) -> None:
        while self._spool.size:
            needed = self._needed(version)
            if needed is None or needed > self._spool.size:
                return
            rest = self._spool.read(needed, self._spool.size - needed)
            self._spool.truncate(needed)
            await self._submit()
            self._spool.append(rest)

    def _needed(self, version: CompiledProgram) -> int | None:
        if self._framer is None:
            self._form = format_of(self._spool, self._fixed)
            if not format_named(self._form).is_framed:
                return None  # ends where reading begins
            params = self._calls.open_params(self._program, version, self._caller)
            self._framer = Framer(self._form, params, self._count)
        return self._framer.needed(self._spool.view())

    def _count(self, path: str) -> int:
        """How many arrays a reference stands for."""
        return len(self._calls.find(path, self._caller).params)

    async def _submit(self) -> None:
        spool, form, begun_usec, nbytes = self._spool, self._form, now_usec(), self._spool.size
        self._spool, self._framer, self._form = self._calls.spool(self._uid), None, ""
        try:
            version, inputs = await self._calls.read(
                self._uid, self._caller, self._program, spool, form
            )
        finally:
            spool.close()
        self._run(version, form, inputs, nbytes, begun_usec)

    def _run(
        self,
        version: CompiledProgram,
        form: str,
        inputs: tuple[RunInput, ...],
        nbytes: int,
        begun_usec: int = 0,
    ) -> None:
        reply = _PendingReply(
            version, form, self._program, self._calls, self._uid, nbytes, begun_usec
        )
        try:
            self._reserve(reply)
        except OverQuota:
            release_inputs(inputs)
            raise
        try:
            if not version.is_small:
                self._calls.check_memory(self._uid, version, inputs)
            reply.run = self._queue.submit(self._uid, version.executable, inputs, reply.arrive)
        except BaseException:
            reply.drop()
            raise
        self._replies.append(reply)
        if self._asked is not None:
            self._asked.set()
            self._asked = None

    def _reserve(self, reply: _PendingReply) -> None:
        if len(self._replies) >= MAX_UNREAD:
            raise OverQuota(f"{MAX_UNREAD} replies of this file were not read; read some first")
        nbytes = reply.compiled.executable.output_bytes
        if nbytes > INLINE_BYTES:
            reply.refund = self._calls.quotas.charge(self._uid, nbytes)

    async def read(self, size: int, *, wait: bool = True) -> bytes | memoryview:
        """The next bytes of the replies; b"" once all is answered.

        Raises Invalid for a request that stops short, RunFailed for a run that failed, NotReady
        where it may not wait.
        """
        if self._spool.size:
            await self._finish_request()
        while self._replies:
            data = await self._read_from(self._replies[0], size, wait=wait)
            if data:
                return data
        return b""

    async def _read_from(
        self, reply: _PendingReply, size: int, *, wait: bool
    ) -> bytes | memoryview:
        if reply.outcome is None:
            self._queue.poll(REPLY_WAIT_S if wait and not self._hurried else 0.0)
        if reply.outcome is None:
            if not wait:
                raise NotReady("the reply is not there yet")
            await reply.arrived.wait()
        if reply.outcome is None:  # another thread read it meanwhile
            return b""
        if reply.outcome.error is not None:
            error = reply.outcome.error
            self._drop_first(reply)
            kind = type(error) if isinstance(error, Cancelled | TimedOut) else RunFailed
            raise kind(error.reason, error.diagnostics)
        rope = await reply.encoded(reply.outcome)
        data = rope.read(reply.offset, size)
        reply.offset += len(data)
        if reply.offset >= rope.nbytes:
            self._drop_first(reply)
        return data

    def _drop_first(self, reply: _PendingReply) -> None:
        if self._replies and self._replies[0] is reply:
            self._replies.popleft()
        reply.drop()

    async def _finish_request(self) -> None:
        """Reading begins: what was written must be a request, if only the end was not marked."""
        try:
            if not self._form:
                self._form = format_of(self._spool, self._fixed)
            await self._submit()
        except BaseException:
            self._reset()
            raise

    async def flush(self) -> None:
        """The file is being closed: a request that stops short is told now.  Raises Invalid."""
        if self._spool.size:
            await self._finish_request()

    def poll(self) -> None:
        """Take what has been answered already."""
        self._queue.poll()

    def is_readable(self) -> bool:
        """Whether there is something to read: a reply, or a request that ends where reading begins.

        A conversation in which nothing was asked is not readable, though read(2) would give end of
        file at once: whoever polls waits for replies.
        """
        if self._replies:
            return self._replies[0].outcome is not None
        ends_here = self._program.compiled is None or not self._is_framed()
        return bool(self._spool.size and self._form and ends_here)

    def _is_framed(self) -> bool:
        return bool(self._form) and format_named(self._form).is_framed

    def next_arrival(self) -> trio.Event:
        """Set when the reply that is waited for is there, or the next request was made."""
        if self._replies:
            return self._replies[0].arrived
        if self._asked is None:
            self._asked = trio.Event()
        return self._asked

    def _reset(self) -> None:
        self._spool.close()
        self._spool, self._framer, self._form = self._calls.spool(self._uid), None, ""

    def close(self) -> None:
        """Nobody reads any more: what runs may end soon, what waits need not begin."""
        self._spool.close()
        replies, self._replies = self._replies, deque()
        self._queue.abandon(reply.run for reply in replies if reply.run and reply.outcome is None)
        for reply in replies:
            reply.drop()
