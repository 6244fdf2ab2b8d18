"""The front's side of the tracer: jobs in, checked answers out, whatever the other side does.

Imports no jax.  The zygote is started at the first job, and again when it died; jobs run at most
``limit`` at a time, first come first served.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Literal

import attrs
import msgspec
import trio

from jaxfs.compiler.client.replies import MAX_FILE_BYTES, Answer, checked, crash, read_file
from jaxfs.compiler.client.zygote_process import ZygoteProcess
from jaxfs.compiler.job_protocol import (
    Compile,
    Compiled,
    Draw,
    Drawn,
    Ended,
    Interpret,
    Interpreted,
    Job,
    Kill,
    Reply,
    Trace,
    Traced,
    UntypedProgram,
    Work,
)
from jaxfs.compiler.sandbox import Limits, missing
from jaxfs.errors import RunFailed, TimedOut
from jaxfs.ipc.channel import AsyncChannel, Closed, pair
from jaxfs.types.avals import Aval
from jaxfs.types.signature import Signature

DEADLINE_S = 600.0
TRACE_DEADLINE_S = 60.0  # damaged bytecode can keep MLIR's reader busy for ever
MAX_ATTEMPTS = 2  # a job in whose time the zygote died twice is not tried again
_BIG_BYTES = 4 << 20  # from here on, reading takes long enough for a thread

_DOING = {
    Trace: "reading the program",
    Compile: "compiling",
    Interpret: "interpreting",
    Draw: "drawing",
}
State = Literal["idle", "starting", "ready", "restarting"]


class _ZygoteDied(Exception):
    """Before the job had an answer; it may run again."""


@attrs.define
class _Running:
    """A job under way; ``ended`` is set by the zygote's word, or its death."""

    zygote: ZygoteProcess
    number: int
    done: trio.Event = attrs.field(factory=trio.Event)
    ended: Ended | None = None


class CompilerClient:
    """Runs jobs in throw-away processes.  ``nursery`` outlives every job.

    A job gets ``memory_bytes``, half of the machine's memory where not said.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        limit: int | None = None,
        deadline_s: float = DEADLINE_S,
        memory_bytes: int | None = None,
    ) -> None:
        self.deadline_s = deadline_s
        self.memory_bytes = memory_bytes or _usual_memory_bytes()
        self.restarts = 0
        self.state: State = "idle"
        self._nursery = nursery
        self._slots = trio.CapacityLimiter(limit or os.cpu_count() or 1)
        self._starting = trio.Lock()
        self._zygote: ZygoteProcess | None = None
        self._running: dict[int, _Running] = {}
        self._numbers = itertools.count(1)
        self._is_closed = False

    @property
    def pid(self) -> int:
        """The zygote's process, 0 while there is none."""
        return self._zygote.pid if self._zygote else 0

    @property
    def toolchain(self) -> str:
        """The versions of jax and jaxlib, empty until the first start."""
        return self._zygote.toolchain if self._zygote else ""

    @property
    def sandbox(self) -> tuple[str, ...]:
        """The layers that work on this machine; empty until the first start."""
        return self._zygote.layers if self._zygote else ()

    @property
    def holds_pickles(self) -> bool:
        """Whether a user's Python may run here; False until the first start."""
        return bool(self._zygote) and not missing(self.sandbox)

    @property
    def why_not(self) -> str:
        """What ``holds_pickles`` lacks, one line; empty where it is true."""
        if self._zygote is None:
            return "the tracer has not started yet"
        lacking = " and ".join(missing(self.sandbox))
        return f"this kernel offers no {lacking}, which keeps a user's code in" if lacking else ""

    async def start(self) -> None:
        """Have a zygote ready.  Raises RunFailed with its words where it cannot start."""
        await self._ready_zygote()

    async def trace(
        self,
        source: int,
        platform: str,
        deadline_s: float | None = None,
        *,
        steps: Sequence[str] = (),
        types: Sequence[Aval] | None = None,
        options: Mapping[str, str] | None = None,
        takes_pickles: bool = False,
        user: tuple[int, int] | None = None,
        began: Callable[[], None] | None = None,
    ) -> tuple[Traced, bytes, bytes] | UntypedProgram:
        """Make an artifact of the source in an open file: its description, bytes and text.

        Untyped where the program needs ``types`` (those of all inputs, flat) and there are none.
        ``steps`` transform it, outermost first; ``options`` are a pickled function's.
        """
        flat = None if types is None else tuple(types)
        work = Trace(platform, tuple(steps), flat, dict(options or {}), takes_pickles)
        reply, files = await self.run(work, [source], deadline_s, user=user, began=began)
        if isinstance(reply, UntypedProgram) and types is None:
            return reply
        if not isinstance(reply, Traced):
            raise RunFailed(f"the tracer answered {type(reply).__name__} to a trace")
        artifact, text = files
        return reply, artifact, text

    async def compile(
        self,
        artifact: int,
        work: Compile,
        deadline_s: float | None = None,
        *,
        user: tuple[int, int] | None = None,
        began: Callable[[], None] | None = None,
    ) -> tuple[Compiled, bytes, bytes]:
        """Compile the artifact in an open file: figures, executable, HLO text."""
        reply, files = await self.run(work, [artifact], deadline_s, user=user, began=began)
        if not isinstance(reply, Compiled):
            raise RunFailed(f"the tracer answered {type(reply).__name__} to a compile")
        executable, hlo = files
        return reply, executable, hlo

    async def interpret(
        self,
        artifact: bytes,
        inputs: bytes,
        signature: Signature,
        *,
        user: tuple[int, int] | None = None,
    ) -> bytes:
        """The outputs' bytes by StableHLO's reference interpreter.  Raises NotSupported."""
        fd = os.memfd_create("jaxfs", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(fd), "wb") as file:
                file.write(len(artifact).to_bytes(8, "little") + artifact + inputs)
            reply, files = await self.run(Interpret(signature), [fd], user=user)
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
        user: tuple[int, int] | None = None,
        began: Callable[[], None] | None = None,
    ) -> bytes:
        """The artifact in an open file as a picture, SVG.  Raises NotSupported."""
        reply, files = await self.run(
            Draw(signature), [artifact], TRACE_DEADLINE_S, user=user, began=began
        )
        if not isinstance(reply, Drawn):
            raise RunFailed(f"the tracer answered {type(reply).__name__} to a drawing")
        return files[0]

    async def run(
        self,
        work: Work,
        fds: Sequence[int],
        deadline_s: float | None = None,
        *,
        user: tuple[int, int] | None = None,
        began: Callable[[], None] | None = None,
    ) -> tuple[Answer, list[bytes]]:
        """Do a job; its answer and files.

        ``began`` is called when the job gets its turn, and ``deadline_s`` counts from then.
        ``user`` (uid, gid) is who asked: the job has no more rights (None: no more than the front).
        Raises TimedOut past the deadline, Invalid where the program is bad or ended its process,
        RunFailed where the tracer itself failed.
        """
        limit_s = self._usual_s(work) if deadline_s is None else deadline_s
        async with self._slots:
            if began is not None:
                began()
            for _ in range(MAX_ATTEMPTS):
                with suppress(_ZygoteDied):
                    return await self._attempt(work, fds, limit_s, user or (None, None))
        raise RunFailed(f"the tracer died {MAX_ATTEMPTS} times while it had this program")

    def _limits(self) -> Limits:
        """Seconds of CPU for every core until the deadline; one byte more of a file than is taken,
        so that ``untrusted`` finds what is too long."""
        cpu_s = math.ceil(self.deadline_s * (os.cpu_count() or 1))
        return Limits(self.memory_bytes, MAX_FILE_BYTES + 1, cpu_s)

    def _usual_s(self, work: Work) -> float:
        return min(self.deadline_s, TRACE_DEADLINE_S if isinstance(work, Trace) else math.inf)

    async def _attempt(
        self,
        work: Work,
        fds: Sequence[int],
        limit_s: float,
        user: tuple[int | None, int | None],
    ) -> tuple[Answer, list[bytes]]:
        running = _Running(await self._ready_zygote(), next(self._numbers))
        self._running[running.number] = running
        ours, theirs = pair()
        reply: AsyncChannel[Reply] = AsyncChannel(ours, Reply)
        try:
            with theirs:
                job = Job(running.number, work, *user)
                await self._send(running, job, [theirs.fileno(), *fds])
            with trio.move_on_after(limit_s):
                return await self._answer(running, reply)
        finally:
            reply.close()
            await self._finish(running)
        doing = _DOING[type(work)]
        raise TimedOut(f"{doing} took over {limit_s:g} s (-o compile_timeout)")

    async def _answer(
        self, running: _Running, reply: AsyncChannel[Reply]
    ) -> tuple[Answer, list[bytes]]:
        try:
            message, fds = await reply.receive()
        except Closed:
            await running.done.wait()
            if running.ended is None:
                raise _ZygoteDied from None
            raise crash(running.ended.status, running.ended.last_words) from None
        except msgspec.MsgspecError as error:
            raise RunFailed(f"the tracer's answer makes no sense: {error}") from None
        try:
            return checked(message, fds), [await _read(fd) for fd in fds]
        finally:
            for fd in fds:
                os.close(fd)

    async def _send(self, running: _Running, message: Job | Kill, fds: Sequence[int] = ()) -> None:
        try:
            await running.zygote.channel.send(message, fds)
        except Closed:
            running.zygote.is_alive = False  # known here before _listen hears of it
            raise _ZygoteDied from None

    async def _finish(self, running: _Running) -> None:
        """Leave only when the job's process is gone, so that ``limit`` is kept."""
        with trio.CancelScope(shield=True):
            if not running.done.is_set():
                with suppress(_ZygoteDied):
                    await self._send(running, Kill(running.number))
                await running.done.wait()
        del self._running[running.number]

    async def _ready_zygote(self) -> ZygoteProcess:
        async with self._starting:
            if self._is_closed:
                raise RunFailed("the tracer is closed")
            if self._zygote is None or not self._zygote.is_alive:
                self.restarts += self._zygote is not None
                self.state = "starting" if self._zygote is None else "restarting"
                self._zygote = await ZygoteProcess.start(self._limits())
                self._nursery.start_soon(self._listen, self._zygote)
                self.state = "ready"
            return self._zygote

    async def _listen(self, zygote: ZygoteProcess) -> None:
        try:
            async for ended in zygote.endings():
                if ended.job in self._running:
                    self._running[ended.job].ended = ended
                    self._running[ended.job].done.set()
        finally:
            if self._zygote is zygote:
                self.state = "idle"  # the next job starts another
            for running in self._running.values():
                if running.zygote is zygote:
                    running.done.set()
            with trio.CancelScope(shield=True):
                await zygote.close()

    async def close(self) -> None:
        """End the zygote and with it every job."""
        self._is_closed = True
        if self._zygote is not None:
            await self._zygote.close()


def _usual_memory_bytes() -> int:
    """Half of the machine's: the other half is for what runs."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


async def _read(fd: int) -> bytes:
    if os.fstat(fd).st_size < _BIG_BYTES:
        return read_file(fd)
    return await trio.to_thread.run_sync(read_file, fd)


@asynccontextmanager
async def open_compiler(
    limit: int | None = None, deadline_s: float = DEADLINE_S, memory_bytes: int | None = None
) -> AsyncIterator[CompilerClient]:
    """A client with a nursery of its own, for tests and tools."""
    async with trio.open_nursery() as nursery:
        client = CompilerClient(nursery, limit, deadline_s, memory_bytes)
        try:
            yield client
        finally:
            with trio.CancelScope(shield=True):
                await client.close()
            nursery.cancel_scope.cancel()
