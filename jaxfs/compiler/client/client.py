"""The front's compiler: runs jobs in throw-away processes and checks their answers.

Imports no jax.  Users take turns with the slots for jobs, see `job_slots`.  A process that has read
a user's bytes may do anything: crash, hang, answer nonsense.  Each becomes an error of that job
alone.
"""

from __future__ import annotations

import math
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import msgspec
import trio

from jaxfs.compiler.client.job_slots import JobSlots
from jaxfs.compiler.client.replies import (
    MAX_FILE_BYTES,
    Answer,
    CompilerCrashed,
    cannot_interpret,
    checked,
    crash,
    read_file,
)
from jaxfs.compiler.client.zygote_supervisor import RunningJob, ZygoteDied, ZygoteSupervisor
from jaxfs.compiler.compiler_interface import CompileResult, CompilerState, TraceResult, UserIds
from jaxfs.compiler.job_protocol import (
    Compile,
    Compiled,
    Draw,
    Drawn,
    Interpret,
    Interpreted,
    Trace,
    Traced,
    UntypedProgram,
    Work,
)
from jaxfs.compiler.sandbox import Limits, missing
from jaxfs.errors import RunFailed, TimedOut
from jaxfs.ipc.channel import Closed
from jaxfs.types.signature import Signature

DEADLINE_S = 600.0
TRACE_DEADLINE_S = 60.0  # damaged bytecode can keep MLIR's reader busy for ever
MAX_ATTEMPTS = 2  # a job during which the zygote died twice is not tried again
BIG_JOB_BYTES = 16 << 30
_BIG_BYTES = 4 << 20  # from here on, reading takes long enough for a thread

_ACTIVITIES = {
    Trace: "reading the program",
    Compile: "compiling",
    Interpret: "interpreting",
    Draw: "drawing",
}


class CompilerClient:
    """Implements `Compiler` with a zygote and one process for each job.

    Args:
        nursery: must live longer than every job.
        limit: how many jobs may run at a time; None: one for each core and one more, so that one
            user's jobs may take each core.
        deadline_s: the time of one job; tracing has at most ``TRACE_DEADLINE_S``.
        memory_bytes: the memory of one job; None: see `default_memory_bytes`.

    Attributes:
        slots: in which jobs run.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        limit: int | None = None,
        deadline_s: float = DEADLINE_S,
        memory_bytes: int | None = None,
    ) -> None:
        self._deadline_s = deadline_s
        count = limit or (os.cpu_count() or 1) + 1
        self.slots = JobSlots(count)
        limits = _job_limits(deadline_s, memory_bytes or default_memory_bytes(count))
        self._supervisor = ZygoteSupervisor(nursery, limits)

    @property
    def state(self) -> CompilerState:
        """Whether jobs can start at once."""
        return self._supervisor.state

    @property
    def restarts(self) -> int:
        """How often the zygote died and was started again."""
        return self._supervisor.restarts

    @property
    def pid(self) -> int:
        """The zygote's process, 0 before the first start."""
        zygote = self._supervisor.zygote
        return zygote.pid if zygote else 0

    @property
    def sandbox(self) -> tuple[str, ...]:
        """The layers that work on this machine; empty before the first start."""
        zygote = self._supervisor.zygote
        return zygote.layers if zygote else ()

    @property
    def holds_pickles(self) -> bool:
        """Whether a user's Python may run here; False before the first start."""
        return self._supervisor.zygote is not None and not missing(self.sandbox)

    @property
    def why_no_pickles(self) -> str:
        """The layers that ``holds_pickles`` misses, in one line; empty where it is True."""
        if self._supervisor.zygote is None:
            return "the tracer has not started yet"
        lacking = " and ".join(missing(self.sandbox))
        return f"this kernel offers no {lacking}, which keeps a user's code in" if lacking else ""

    async def start(self) -> None:
        """Starts a zygote unless one runs.

        Raises:
            RunFailed: It cannot be started, with the reason.
        """
        await self._supervisor.start()

    async def trace(
        self,
        source: int,
        work: Trace,
        deadline_s: float | None = None,
        *,
        user: UserIds | None = None,
        began: Callable[[], None] | None = None,
    ) -> TraceResult | UntypedProgram:
        """Makes an artifact from the source in an open file; see `Compiler.trace`."""
        limit_s = min(self._deadline_s, TRACE_DEADLINE_S) if deadline_s is None else deadline_s
        reply, files = await self._run(work, source, limit_s, user, began)
        if isinstance(reply, UntypedProgram) and work.types is None:
            return reply
        if not isinstance(reply, Traced):
            raise _unexpected(reply, "a trace")
        artifact, text = files
        return TraceResult(reply, artifact, text)

    async def compile(
        self,
        artifact: int,
        work: Compile,
        deadline_s: float | None = None,
        *,
        user: UserIds | None = None,
        began: Callable[[], None] | None = None,
    ) -> CompileResult:
        """Compiles the artifact in an open file; see `Compiler.compile`."""
        limit_s = self._deadline_s if deadline_s is None else deadline_s
        reply, files = await self._run(work, artifact, limit_s, user, began)
        if not isinstance(reply, Compiled):
            raise _unexpected(reply, "a compile")
        executable, hlo = files
        return CompileResult(reply, executable, hlo)

    async def interpret(
        self,
        artifact: bytes,
        inputs: bytes,
        signature: Signature,
        *,
        user: UserIds | None = None,
    ) -> bytes:
        """Runs an artifact in the reference interpreter; see `Compiler.interpret`."""
        fd = os.memfd_create("jaxfs", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(fd), "wb") as file:
                file.write(len(artifact).to_bytes(8, "little") + artifact + inputs)
            reply, files = await self._run(Interpret(signature), fd, self._deadline_s, user)
        except CompilerCrashed as error:
            raise cannot_interpret(error) from None
        finally:
            os.close(fd)
        nbytes = sum(aval.nbytes for aval in signature.output_avals)
        if not isinstance(reply, Interpreted) or len(files[0]) != nbytes:
            raise RunFailed("the interpreter's answer does not fit the program's outputs")
        return files[0]

    async def draw(
        self,
        artifact: int,
        signature: Signature,
        *,
        user: UserIds | None = None,
        began: Callable[[], None] | None = None,
    ) -> bytes:
        """Draws the artifact in an open file; see `Compiler.draw`."""
        reply, files = await self._run(Draw(signature), artifact, TRACE_DEADLINE_S, user, began)
        if not isinstance(reply, Drawn):
            raise _unexpected(reply, "a drawing")
        return files[0]

    async def close(self) -> None:
        """Ends the zygote and with it every job."""
        await self._supervisor.close()

    async def _run(
        self,
        work: Work,
        fd: int,
        limit_s: float,
        user: UserIds | None,
        began: Callable[[], None] | None = None,
    ) -> tuple[Answer, list[bytes]]:
        """Runs a job when it is its turn; returns its answer and files.

        Raises:
            TimedOut: ``limit_s``, which begins with the job's turn, is over.
            OverQuota: the user has too many unfinished jobs.
            Invalid: the program is bad, or ended its process.
            RunFailed: the tracer itself failed.
        """
        async with self.slots.turn(user[0] if user else os.getuid()):
            if began is not None:
                began()
            for _ in range(MAX_ATTEMPTS):
                with suppress(ZygoteDied):
                    return await self._attempt(work, fd, limit_s, user)
        raise RunFailed(f"the tracer died {MAX_ATTEMPTS} times during this program's job")

    async def _attempt(
        self, work: Work, fd: int, limit_s: float, user: UserIds | None
    ) -> tuple[Answer, list[bytes]]:
        async with self._supervisor.running(work, [fd], user) as job:
            with trio.move_on_after(limit_s):
                return await _receive_answer(job)
        raise TimedOut(f"{_ACTIVITIES[type(work)]} took over {limit_s:g} s (-o compile_timeout)")


async def _receive_answer(job: RunningJob) -> tuple[Answer, list[bytes]]:
    try:
        message, fds = await job.reply.receive()
    except Closed:
        ended = await job.wait_ended()
        raise crash(ended.status, ended.stderr_tail) from None
    except msgspec.MsgspecError as error:
        raise RunFailed(f"the tracer's answer makes no sense: {error}") from None
    try:
        return checked(message, fds), [await _read(fd) for fd in fds]
    finally:
        for fd in fds:
            os.close(fd)


async def _read(fd: int) -> bytes:
    """Returns the content of a file.

    A big one is read in a thread, so that no request waits for it.
    """
    if os.fstat(fd).st_size < _BIG_BYTES:
        return read_file(fd)
    return await trio.to_thread.run_sync(read_file, fd)


def _unexpected(reply: Answer, request: str) -> RunFailed:
    return RunFailed(f"the tracer answered {type(reply).__name__} to {request}")


def default_memory_bytes(slots: int) -> int:
    """Returns how much memory a job may take.

    Half of the machine's is for what runs.  The other half is divided by the slots, but by no more
    than lets a job have ``BIG_JOB_BYTES``: few compiles take that much, and where many do at once,
    the kernel ends one of them before anything else.  Two jobs together never exceed that half.

    Args:
        slots: How many jobs may run at a time.
    """
    half_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return max(half_bytes // slots, min(half_bytes // 2, BIG_JOB_BYTES))


def _job_limits(deadline_s: float, memory_bytes: int) -> Limits:
    """Returns the limits of a job's process.

    CPU time is that of every core until the deadline.  A file may be one byte longer than `replies`
    takes, so that it notices files that are too long.
    """
    cpu_s = math.ceil(deadline_s * (os.cpu_count() or 1))
    return Limits(memory_bytes, MAX_FILE_BYTES + 1, cpu_s)


@asynccontextmanager
async def open_compiler(
    limit: int | None = None, deadline_s: float = DEADLINE_S, memory_bytes: int | None = None
) -> AsyncIterator[CompilerClient]:
    """Opens a client with a nursery of its own; arguments as `CompilerClient` has them."""
    async with trio.open_nursery() as nursery:
        client = CompilerClient(nursery, limit, deadline_s, memory_bytes)
        try:
            yield client
        finally:
            with trio.CancelScope(shield=True):
                await client.close()
            nursery.cancel_scope.cancel()
