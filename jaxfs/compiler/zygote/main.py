"""The zygote: a process that has imported jax and forks a child for each job.

    python -m jaxfs.compiler.zygote.main FD LIMITS

It has one thread and no JAX backend, so that a fork is safe, and it reads no bytes of a user.
Importing jax takes 0.6 s once instead of for every job.  When the front closes its end of the
control socket FD, the zygote kills its children and exits.  Every child enters the sandbox, with
LIMITS (JSON), before it reads its input.
"""

from __future__ import annotations

import os

# One thread: numpy's BLAS would start others at import, and a fork keeps only the one that forks.
os.environ.update(
    dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
)

import gc
import math
import selectors
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import NoReturn

import attrs
import msgspec
from jaxlib.mlir import ir

from jaxfs.compiler import sandbox
from jaxfs.compiler.job_protocol import FILES, Compile, Ended, Hello, Job, Kill, Request
from jaxfs.compiler.zygote.job import LONG_NICENESS, run_job
from jaxfs.compiler.zygote.warm_up import warm_up
from jaxfs.ipc.channel import Channel, Closed
from jaxfs.jaxcompat import mlir
from jaxfs.posix.child_setup import die_with_parent, keep_only
from jaxfs.posix.page_cache import drop_code

LONG_S = 1.0  # from then on a job gives way to shorter ones
MAX_OUTPUT_BYTES = 4096  # of what a child printed, for the error that reports its death
_PIPE_BYTES = 65536


@attrs.define(eq=False)
class Child:
    """The process of a job.

    Attributes:
        job: The front's number for the job.
        pid: The process, which leads a process group.
        pidfd: Becomes readable when the process ends (pidfd_open(2)).
        output: The reading end of the pipe that is its stdout and stderr.
        output_end: The last bytes from ``output``; however much a job prints, no more is kept.
        long_s: When it is long, by time.monotonic(); infinite once its niceness was raised.
    """

    job: int
    pid: int
    pidfd: int
    output: int
    output_end: bytes = b""
    long_s: float = attrs.field(factory=lambda: time.monotonic() + LONG_S)

    def give_way(self) -> None:
        """Lets shorter jobs, perhaps of other users, have the processors first.

        Threads that start later have the niceness of the one that starts them.
        """
        self.long_s = math.inf
        with suppress(ProcessLookupError, PermissionError):  # it has ended; no CAP_SYS_NICE
            os.setpriority(os.PRIO_PGRP, self.pid, LONG_NICENESS)  # all threads of all processes

    def read_output(self) -> bool:
        """Reads at most one pipe's content of ``output``; returns whether there was some."""
        try:
            found = os.read(self.output, _PIPE_BYTES)
        except BlockingIOError:
            return False
        self.output_end = (self.output_end + found)[-MAX_OUTPUT_BYTES:]
        return bool(found)


class Zygote:
    """Forks, kills and reaps the processes of jobs; it blocks only to wait for the next event."""

    def __init__(self, control: socket.socket, context: ir.Context, box: sandbox.Sandbox) -> None:
        self._control: Channel[Request] = Channel(control, Request)
        self._context = context
        self._sandbox = box
        self._children: dict[int, Child] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ, self._receive)

    def serve(self) -> None:
        """Handles messages until the front closes its end, then kills all children."""
        self._control.send(Hello(os.getpid(), mlir.toolchain(), self._sandbox.layers))
        try:
            while True:
                for key, _ in self._selector.select(self._until_long_s()):
                    now = self._selector.get_map().get(key.fd)
                    if now is not None and now.data is key.data:  # not of a child just reaped
                        key.data()
                self._let_long_jobs_give_way()
        except Closed:
            for child in self._children.values():
                _kill_group(child.pid)
            self._sandbox.close()

    def _until_long_s(self) -> float | None:
        """Returns how many seconds it takes until a job is long; None if none will be."""
        until_s = min((child.long_s for child in self._children.values()), default=math.inf)
        return None if until_s == math.inf else max(0.0, until_s - time.monotonic())

    def _let_long_jobs_give_way(self) -> None:
        for child in self._children.values():
            if child.long_s <= time.monotonic():
                child.give_way()

    def _receive(self) -> None:
        message, fds = self._control.receive()
        if isinstance(message, Job):
            self._start(message, fds)
        elif isinstance(message, Kill) and message.job in self._children:
            _kill_group(self._children[message.job].pid)
        for fd in fds:
            os.close(fd)

    def _start(self, message: Job, fds: list[int]) -> None:
        output, child_output = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(output, False)
        files = [os.memfd_create("jaxfs", os.MFD_CLOEXEC) for _ in range(FILES)]
        zygote = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become_child(message, fds, files, child_output, zygote)
        for fd in (child_output, *files):
            os.close(fd)
        os.setpgid(pid, pid)  # here too: a Kill may arrive before the child has done it
        child = Child(message.job, pid, os.pidfd_open(pid), output)
        self._children[child.job] = child
        self._selector.register(output, selectors.EVENT_READ, partial(self._read_output, child))
        self._selector.register(child.pidfd, selectors.EVENT_READ, partial(self._reap, child))

    def _become_child(
        self, message: Job, fds: list[int], files: Sequence[int], output: int, zygote: int
    ) -> NoReturn:
        """Runs the job in this process, just forked, and exits.

        Args:
            message: The job.
            fds: The reply socket and the source.
            files: Files in memory for the reply.
            output: The writing end of the pipe for stdout and stderr.
            zygote: The parent, with which this process ends.
        """
        status = 1
        try:
            die_with_parent(zygote)
            os.setpgid(0, 0)
            os.dup2(output, 1)
            os.dup2(output, 2)
            reply, source = fds
            keep_only([*fds, *files, *self._sandbox.fds])
            user, work = sandbox.job_user(message.uid, message.gid), message.work
            devices = work.device_count if isinstance(work, Compile) else 1
            runs_tools = isinstance(work, Compile) and work.target.platform != "cpu"
            self._sandbox.enter(user, zygote, devices, runs_tools=runs_tools)
            run_job(self._context, message.work, reply, source, files)
            status = 0
        finally:
            os._exit(status)  # no clean-up of the zygote's objects, no return into its loop

    def _read_output(self, child: Child) -> None:
        if not child.read_output():  # the child has closed its end, and may still run
            self._selector.unregister(child.output)

    def _reap(self, child: Child) -> None:
        """Waits for a child that has ended, and reports its exit to the front.

        Programs that it started end too: until it is waited for, no group has its number.
        """
        _kill_group(child.pid)
        _, status = os.waitpid(child.pid, 0)
        self._sandbox.forget(child.pid)
        while child.read_output():
            pass
        for fd in (child.pidfd, child.output):
            if fd in self._selector.get_map():
                self._selector.unregister(fd)
            os.close(fd)
        del self._children[child.job]
        output = child.output_end.decode(errors="replace")
        self._control.send(Ended(child.job, os.waitstatus_to_exitcode(status), output))


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:  # it has ended, and will be reaped
        return


def main() -> None:
    """Imports and runs what is slow the first time, then serves jobs."""
    die_with_parent(os.getppid())
    control = socket.socket(fileno=int(sys.argv[1]))
    context = mlir.make_context()
    warm_up(context)
    gc.collect()
    gc.freeze()  # children's collections would copy every page of what is imported here
    drop_code()
    limits = msgspec.json.decode(sys.argv[2], type=sandbox.Limits)
    Zygote(control, context, sandbox.prepare(limits)).serve()


if __name__ == "__main__":
    main()
