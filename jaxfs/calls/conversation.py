"""The file ``call``: requests in and replies out, on one open file, as often as wanted.

Replies come in the order of the requests, as one stream; read(2) returns 0 when all requests so far
have been answered and read.  Offsets have no meaning: the file is a pipe to the program.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Awaitable
from functools import partial

import trio

from jaxfs.arrays.inputs import format_of
from jaxfs.arrays.long_texts import encode, release
from jaxfs.arrays.run_inputs import RunInput, release_inputs
from jaxfs.calls.call import now_usec, typed_outputs
from jaxfs.calls.call_registry import Calls
from jaxfs.calls.fast_path import FastPath, fast_path_for
from jaxfs.calls.pending_reply import Allowance, PendingReply
from jaxfs.codecs.formats import detect, format_named
from jaxfs.codecs.framing import Framer
from jaxfs.errors import Cancelled, NotReady, OverQuota, RunFailed, TimedOut
from jaxfs.ipc.channel import INLINE_BYTES
from jaxfs.ipc.spin import SpinPolicy
from jaxfs.ipc.spool import Spool
from jaxfs.posix.credentials import Credentials
from jaxfs.programs.commits import Unsettled
from jaxfs.programs.compiled import CompiledProgram, ProgramVersion
from jaxfs.programs.program import Program
from jaxfs.programs.single_flight import SingleFlight

REPLY_WAIT_S = 50e-6  # blocking the event loop so long costs less than a turn of it
QUICK_WAIT_S = 100e-6  # for programs that mostly run for a fraction of it
MISS_COST = 8  # after a wait in vain, so many requests do not wait: cores are scarce
REQUESTS_PER_TURN = 64  # of one write, submitted in one turn of the event loop


class Conversation:
    """The requests and replies of one open ``call``.

    Args:
        calls: The calls of the mount.
        program: The program that is called.
        fixed_format: The format of all requests, or empty to detect it from each.
        caller: The process that opened the file.
    """

    def __init__(
        self, calls: Calls, program: Program, fixed_format: str, caller: Credentials
    ) -> None:
        self._calls = calls
        self._program = program
        self._fixed_format = fixed_format
        self._caller = caller
        self._uid = uid = caller.uid
        self._admission = calls.admission
        self._stats = calls.stats
        self._scheduler = calls.admission.scheduler(uid)
        self._replies: deque[PendingReply] = deque()
        self._spool = calls.admission.spool(uid)
        self._framer: Framer | None = None  # of the request in the spool
        self._format = ""  # of the request in the spool; empty while it is unknown
        self._fast_path: FastPath | None = None
        self._spin = SpinPolicy(QUICK_WAIT_S, MISS_COST)
        self._submitted: trio.Event | None = None  # for poll(2); made when it is asked for
        self._finishing: SingleFlight[None] | None = None  # the request that reading has ended
        self._is_closed = False
        self._allowance = Allowance(calls.admission.quotas, uid)

    async def write(self, data: bytes) -> int:
        """Takes a piece of a request, and starts the requests that are complete with it.

        Raises:
            Invalid: The request does not fit; it is dropped, the next write begins another one.
            TooBig: The request exceeds the mount's limit.
            BrokenProgram: The program has no version that works.
            NoSpace: The run does not fit into memory.
            OverQuota: The user has too much memory, too many runs or too many unread replies.
        """
        current = self._program.compiled or await self._program.wait_compiled()
        if self._finishing is not None:  # its reply comes first
            await self._finishing.ended.wait()
        is_taken = False
        try:
            self._prepare_spool(current, len(data))
            if self._spool.size:
                for _ in self._spool.prepare(0, self._spool.size + len(data)):
                    await trio.lowlevel.checkpoint()
            self._spool.append(data)
            is_taken = True
            if isinstance(current, CompiledProgram):
                await self._submit_complete(current)
            elif not self._format:  # without types only the reader knows where the request ends
                self._format = format_of(self._spool, self._fixed_format)
        except trio.Cancelled:  # a signal ends the wait, not the request: the data are written
            if not is_taken:
                raise
        except BaseException:
            self._reset()
            raise
        return len(data)

    def write_now(self, data: bytes) -> bool:
        """Takes a whole small raw request, without a turn of the event loop; False for others.

        Waits a moment for the only reply, so that the event loop need not wake up for it.

        Raises:
            NoSpace: The run does not fit into memory.
            OverQuota: The user has too much memory, too many runs or too many unread replies.
        """
        compiled = self._program.compiled
        if (
            self._fixed_format != "raw"
            or compiled is None
            or self._spool.size
            or self._program.inputs
        ):
            return False
        if self._fast_path is None or self._fast_path.compiled is not compiled:
            self._fast_path = fast_path_for(compiled)
        if self._fast_path is None or len(data) != self._fast_path.nbytes:
            return False
        self._run(compiled, "raw", self._fast_path.split(data), len(data))
        wait_s = self._spin.take_budget()
        if wait_s and len(self._replies) == 1 and self._program.stats.is_quick:
            self._scheduler.poll(wait_s)
            if self._replies and self._replies[0].outcome is None:
                self._spin.missed()
        return True

    def read_now(self, size: int) -> bytes | None:
        """Returns a whole small raw reply that is there already, or None."""
        if not self._replies or self._spool.size or self._fast_path is None:
            return None
        reply = self._replies[0]
        if reply.outcome is None or reply.offset or reply.compiled is not self._fast_path.compiled:
            return None
        data = self._fast_path.reply(reply.outcome) if reply.format == "raw" else None
        if data is None or len(data) > size:
            return None
        self._replies.popleft()
        return data

    def _prepare_spool(self, current: ProgramVersion, nbytes: int) -> None:
        """Takes shared memory at once, in its full size, for a request that begins large."""
        if self._spool.size == 0 and nbytes > INLINE_BYTES // 4:
            expected = 0
            if isinstance(current, CompiledProgram):
                expected = sum(aval.nbytes + 256 for aval in current.signature.input_avals)
            self._spool = self._admission.spool(self._uid, max(nbytes, expected))

    async def _submit_complete(self, compiled: CompiledProgram) -> None:
        """Submits the requests in the spool that are complete; the rest stays there.

        Each that came in one write with another one is copied once: a megabyte may have ten
        thousand.
        """
        needed = await self._request_bytes(compiled, self._spool.view())
        if needed is None or needed > self._spool.size:
            return
        rest = memoryview(self._spool.read(needed, self._spool.size - needed))
        self._spool.truncate(needed)
        try:
            for number in itertools.count(1):
                await self._submit()
                needed = await self._request_bytes(compiled, rest) if rest else None
                if needed is None or needed > len(rest):
                    return
                self._spool.append(rest[:needed])
                rest = rest[needed:]
                if number % REQUESTS_PER_TURN == 0:
                    await trio.lowlevel.checkpoint()
        finally:  # also where a signal ends a wait
            if rest:
                self._spool.append(rest)

    async def _request_bytes(self, compiled: CompiledProgram, data: memoryview) -> int | None:
        """Returns the length of the first request in ``data``, or None while it is unknown.

        A request in a format without frames ends where the user begins to read.  Waits for commits
        of arrays that the request names.
        """
        self._format = self._format or self._fixed_format or detect(data[:16])
        if not format_named(self._format).is_framed:
            return None
        while True:
            try:
                if self._framer is None:
                    params = self._calls.requests.free_params(self._program, compiled, self._caller)
                    self._framer = Framer(self._format, params, self._count_arrays)
                return self._framer.needed(data)
            except Unsettled as unsettled:
                self._framer = None
                await unsettled.ended.wait()

    def _count_arrays(self, path: str) -> int:
        return len(self._calls.find(path, self._caller).params)

    def _submit(self) -> Awaitable[None]:
        """Takes the request in the spool; to be awaited: reads it and starts its run."""
        request = self._spool, self._format, now_usec()
        self._spool, self._framer, self._format = self._admission.spool(self._uid), None, ""
        return self._submit_request(*request)

    async def _submit_request(self, spool: Spool, format_name: str, begun_usec: int) -> None:
        nbytes, is_reread = spool.size, False
        try:
            compiled, inputs = await self._calls.requests.read(
                self._uid, self._caller, self._program, spool, format_name
            )
        except trio.Cancelled:  # a signal drops no request: the next read or write waits for it
            is_busy = self._finishing is not None and not self._finishing.ended.is_set()
            if is_reread := not (self._is_closed or is_busy):
                again = partial(self._submit_request, spool, format_name, begun_usec)
                self._finishing = SingleFlight(self._calls.nursery, again)
            raise
        finally:
            if not is_reread:
                spool.close()
        if self._is_closed:
            release_inputs(inputs)
            return
        self._run(compiled, format_name, inputs, nbytes, begun_usec)

    def _run(
        self,
        compiled: CompiledProgram,
        format_name: str,
        inputs: tuple[RunInput, ...],
        nbytes: int,
        begun_usec: int = 0,
    ) -> None:
        """Submits a run and appends its reply; releases the inputs if it raises."""
        allowance = self._allowance
        output_bytes = compiled.executable.output_bytes
        reply = PendingReply(
            compiled, format_name, self._program, self._stats, self._uid, nbytes, begun_usec
        )
        if len(self._replies) >= allowance.count or nbytes + output_bytes > allowance.nbytes:
            try:
                reply.refund = allowance.charge(len(self._replies) + 1, nbytes, output_bytes)
            except OverQuota:
                release_inputs(inputs)
                raise
        try:
            if not compiled.is_small:
                self._admission.check_memory(self._uid, compiled, inputs)
            reply.run = self._scheduler.submit(self._uid, compiled.executable, inputs, reply.arrive)
        except BaseException:
            reply.drop()
            raise
        self._replies.append(reply)
        if self._submitted is not None:
            self._submitted.set()
            self._submitted = None

    async def read(self, size: int, *, wait: bool = True) -> bytes | memoryview:
        """Returns the next bytes of the replies; b"" once all requests are answered.

        Args:
            size: How many bytes at most.
            wait: Whether to wait for a reply that is not there.

        Raises:
            Invalid: The request that was written is not complete.
            RunFailed: The run failed.
            Cancelled: The run was cancelled.
            TimedOut: The run took too long.
            NotReady: The reply is not there, and this may not wait.
        """
        if self._spool.size or self._finishing is not None:
            await self._finish_request()
        while self._replies:
            data = await self._read_from(self._replies[0], size, wait=wait)
            if data:
                return data
        return b""

    async def _read_from(self, reply: PendingReply, size: int, *, wait: bool) -> bytes | memoryview:
        if reply.outcome is None:
            self._scheduler.poll(REPLY_WAIT_S if wait and not self._spin.skips else 0.0)
        if reply.outcome is None:
            if not wait:
                raise NotReady("the reply is not there yet")
            await reply.arrived.wait()
        outcome = reply.outcome
        if outcome is None:  # another thread has read it meanwhile
            return b""
        if outcome.error is not None:
            self._drop_first(reply)
            error = outcome.error
            kind = type(error) if isinstance(error, Cancelled | TimedOut) else RunFailed
            raise kind(error.reason, error.diagnostics)
        if reply.rope is None:
            outputs = typed_outputs(reply.compiled, outcome)
            memory = self._admission.text_memory(self._uid)
            params = reply.compiled.signature.outputs
            content = await encode(reply.format, params, outputs, memory)
            if reply.rope is None and not reply.dropped:
                reply.rope = content
            else:  # another thread's read was first
                release(content)
        rope = reply.rope
        if rope is None:
            return b""
        data = rope.read(reply.offset, size)
        reply.offset += len(data)
        if reply.offset >= rope.nbytes:
            self._drop_first(reply)
        return data

    def _drop_first(self, reply: PendingReply) -> None:
        """Frees a reply that was read, unless another reader has removed it meanwhile."""
        if self._replies and self._replies[0] is reply:
            self._replies.popleft()
        reply.drop()
        if not self._replies:
            self._allowance.shrink()

    async def _finish_request(self) -> None:
        """Submits what was written so far: reading or closing ends it, an interrupted wait not."""
        if self._finishing is None:
            self._finishing = SingleFlight(self._calls.nursery, self._submit_rest)
        finishing = self._finishing
        await finishing.ended.wait()
        if self._finishing is finishing:
            self._finishing = None
        await finishing.wait()

    async def _submit_rest(self) -> None:
        try:
            compiled = self._program.compiled
            if compiled is not None:  # a write that was interrupted may have left several
                await self._submit_complete(compiled)
            if self._spool.size:
                self._format = self._format or format_of(self._spool, self._fixed_format)
                await self._submit()
        except BaseException:
            self._reset()
            raise

    async def flush(self) -> None:
        """Ends the request because the file is closed.

        Raises:
            Invalid: The request is not complete.
            JaxfsError: What submitting it raised, as ``write``.
        """
        if self._spool.size or self._finishing is not None:
            await self._finish_request()

    @property
    def has_request(self) -> bool:
        """Whether a request was written that is not submitted."""
        return self._spool.size > 0 or self._finishing is not None

    def poll(self) -> None:
        """Takes the replies that the engine has sent already."""
        self._scheduler.poll()

    def is_readable(self) -> bool:
        """Returns whether there is a reply, or a request that ends where reading begins.

        A program that polls waits for replies: read(2) returns at once where there is no request.
        """
        if self._replies:
            return self._replies[0].outcome is not None
        if not self._spool.size or not self._format:
            return False
        return self._program.compiled is None or not format_named(self._format).is_framed

    def next_arrival(self) -> trio.Event:
        """Returns the event of the first reply, or of the next run where no reply is awaited."""
        if self._replies:
            return self._replies[0].arrived
        if self._submitted is None:
            self._submitted = trio.Event()
        return self._submitted

    def _reset(self) -> None:
        """Drops the request in the spool: the next write begins one, perhaps in another format."""
        self._spool.close()
        self._spool, self._framer, self._format = self._admission.spool(self._uid), None, ""

    def close(self) -> None:
        """Drops all requests and replies; runs that have not ended are abandoned."""
        self._is_closed = True
        self._spool.close()
        replies, self._replies = self._replies, deque()
        self._scheduler.abandon(
            reply.run for reply in replies if reply.run and reply.outcome is None
        )
        for reply in replies:
            reply.drop()
        self._allowance.end()
