"""Keeps a zygote ready, starts jobs in it and waits for their processes to end.

The zygote is started at the first job and again after it died.  Its death ends all of its jobs
without an answer (`ZygoteDied`); the client then runs them again.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import attrs
import trio

from jaxfs.compiler.client.zygote_process import ZygoteProcess
from jaxfs.compiler.compiler_interface import CompilerState, UserIds
from jaxfs.compiler.job_protocol import Ended, Job, Kill, Reply, Work
from jaxfs.compiler.sandbox import Limits
from jaxfs.errors import RunFailed
from jaxfs.ipc.channel import AsyncChannel, Closed, pair


class ZygoteDied(Exception):
    """The zygote died before the job had an answer; the job may run again."""


@attrs.define(eq=False)
class RunningJob:
    """A job that a zygote was asked to run.

    Attributes:
        zygote: the process that forks the job's.
        number: the job's number, unique for this supervisor.
        reply: the job's own connection; it closes when the job's process ends.
        done: set when the process has ended, or the zygote.
        ended: the process's exit status and stderr; None if the zygote died first.
    """

    zygote: ZygoteProcess
    number: int
    reply: AsyncChannel[Reply]
    done: trio.Event = attrs.field(factory=trio.Event)
    ended: Ended | None = None

    async def wait_ended(self) -> Ended:
        """Returns how the job's process ended.

        Raises:
            ZygoteDied: That is unknown, because the zygote ended first.
        """
        await self.done.wait()
        if self.ended is None:
            raise ZygoteDied
        return self.ended


class ZygoteSupervisor:
    """Owns the zygote; ``nursery`` must live longer than every job.

    Attributes:
        restarts: how often a zygote had to be replaced.
        state: ``idle`` before the first job and after a death.
    """

    def __init__(self, nursery: trio.Nursery, limits: Limits) -> None:
        self.restarts = 0
        self.state: CompilerState = "idle"
        self._nursery = nursery
        self._limits = limits
        self._starting = trio.Lock()
        self._zygote: ZygoteProcess | None = None
        self._jobs: dict[int, RunningJob] = {}
        self._numbers = itertools.count(1)
        self._is_closed = False

    @property
    def zygote(self) -> ZygoteProcess | None:
        """The last zygote, dead or alive; None before the first start."""
        return self._zygote

    async def start(self) -> ZygoteProcess:
        """Returns a living zygote, after starting one if there is none.

        Raises:
            RunFailed: None can be started, with the reason.
        """
        async with self._starting:
            if self._is_closed:
                raise RunFailed("the tracer is closed")
            if self._zygote is None or not self._zygote.is_alive:
                self.restarts += self._zygote is not None
                self.state = "starting" if self._zygote is None else "restarting"
                self._zygote = await ZygoteProcess.start(self._limits)
                self._nursery.start_soon(self._watch, self._zygote)
                self.state = "ready"
            return self._zygote

    @asynccontextmanager
    async def running(
        self, work: Work, fds: Sequence[int], user: UserIds | None
    ) -> AsyncIterator[RunningJob]:
        """Runs a job in a new process, which has ended when the block is left.

        The wait for its end is shielded from cancellation, so that no more jobs run at a time than
        the client has slots.

        Raises:
            ZygoteDied: The zygote ended before the job began.
            RunFailed: No zygote can be started.
        """
        zygote = await self.start()
        ours, theirs = pair()
        job = RunningJob(zygote, next(self._numbers), AsyncChannel(ours, Reply))
        self._jobs[job.number] = job
        try:
            with theirs:
                request = Job(job.number, work, *(user or (None, None)))
                await _send(job, request, [theirs.fileno(), *fds])
            yield job
        finally:
            job.reply.close()
            await self._end(job)

    async def _end(self, job: RunningJob) -> None:
        with trio.CancelScope(shield=True):
            if not job.done.is_set():
                with suppress(ZygoteDied):
                    await _send(job, Kill(job.number))
                await job.done.wait()
        del self._jobs[job.number]

    async def _watch(self, zygote: ZygoteProcess) -> None:
        """Passes the ends of processes on to their jobs, until the zygote's own."""
        try:
            async for ended in zygote.endings():
                if ended.job in self._jobs:
                    self._jobs[ended.job].ended = ended
                    self._jobs[ended.job].done.set()
        finally:
            if self._zygote is zygote:
                self.state = "idle"
            for job in self._jobs.values():
                if job.zygote is zygote:
                    job.done.set()
            with trio.CancelScope(shield=True):
                await zygote.close()

    async def close(self) -> None:
        """Ends the zygote and with it every job.

        A job that would start later raises RunFailed.
        """
        self._is_closed = True
        if self._zygote is not None:
            await self._zygote.close()


async def _send(job: RunningJob, message: Job | Kill, fds: Sequence[int] = ()) -> None:
    """Sends a message to the job's zygote.

    Raises:
        ZygoteDied: Its channel is closed; it then counts as dead for later jobs too.
    """
    try:
        await job.zygote.channel.send(message, fds)
    except Closed:
        job.zygote.is_alive = False  # the watching task may learn of it only later
        raise ZygoteDied from None
