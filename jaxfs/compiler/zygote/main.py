"""The process that has everything imported and forks a child for each job.

    python -m jaxfs.compiler.zygote.main FD LIMITS

It has one thread and no JAX backend, so that a fork is safe, and it looks at no user's bytes.
Importing jax takes 0.6 s once instead of for every job.  When the front's end of the control socket
closes, it ends its children and itself.  Every child enters the sandbox before it reads its input,
with LIMITS (JSON).
"""

from __future__ import annotations

import os

# One thread: numpy's BLAS would start its own at import, and a fork keeps only the forking one.
os.environ.update(
    dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
)

import gc
import selectors
import signal
import socket
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import attrs
import msgspec

from jaxfs.compiler import sandbox
from jaxfs.compiler.job_protocol import FILES, Compile, Ended, Hello, Job, Kill, Request
from jaxfs.compiler.zygote.job import run_job
from jaxfs.compiler.zygote.warm_up import warm_up
from jaxfs.ipc.channel import Channel, Closed
from jaxfs.jaxcompat import mlir
from jaxfs.posix.child_process import die_with_parent, keep_only
from jaxfs.posix.page_cache import drop_code

MAX_LAST_WORDS = 4096  # bytes of what a dying child wrote to stderr
_PIPE_BYTES = 65536


@attrs.define(eq=False)
class Child:
    """A job under way.  ``pidfd`` becomes readable when it ends; ``words`` is its stderr, a pipe:
    however much a job prints, only the end of it is kept."""

    job: int
    pid: int
    pidfd: int
    words: int
    last_words: bytes = b""

    def listen(self) -> bool:
        """Take what it has printed since, at most a pipe full; whether there was anything."""
        try:
            found = os.read(self.words, _PIPE_BYTES)
        except BlockingIOError:
            return False
        self.last_words = (self.last_words + found)[-MAX_LAST_WORDS:]
        return bool(found)


class Zygote:
    """Forks, kills and reaps; nothing here blocks but the wait for the next event."""

    def __init__(self, control: socket.socket, context: Any, box: sandbox.Sandbox) -> None:
        self._control: Channel[Request] = Channel(control, Request)
        self._context = context
        self._box = box
        self._children: dict[int, Child] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ, self._receive)

    def serve(self) -> None:
        """Until the front closes its end."""
        self._control.send(Hello(os.getpid(), mlir.toolchain(), self._box.layers))
        try:
            while True:
                for key, _ in self._selector.select():
                    now = self._selector.get_map().get(key.fd)
                    if now is not None and now.data is key.data:  # no child reaped just now
                        key.data()
        except Closed:
            for child in self._children.values():
                _kill_group(child.pid)

    def _receive(self) -> None:
        self._handle(*self._control.receive())

    def _handle(self, message: Request, fds: list[int]) -> None:
        if isinstance(message, Job):
            self._start(message, fds)
        elif isinstance(message, Kill) and message.job in self._children:
            _kill_group(self._children[message.job].pid)
        for fd in fds:
            os.close(fd)

    def _start(self, message: Job, fds: list[int]) -> None:
        words, printed = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(words, False)
        outputs = [os.memfd_create("jaxfs", os.MFD_CLOEXEC) for _ in range(FILES)]
        zygote = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become_child(message, fds, outputs, printed, zygote)
        for fd in (printed, *outputs):
            os.close(fd)
        os.setpgid(pid, pid)  # here too: a Kill may come before the child has done it
        self._watch(Child(message.job, pid, os.pidfd_open(pid), words))

    def _become_child(
        self, message: Job, fds: list[int], outputs: Sequence[int], printed: int, zygote: int
    ) -> None:
        status = 1
        try:
            die_with_parent(zygote)
            os.setpgid(0, 0)
            os.dup2(printed, 1)
            os.dup2(printed, 2)
            reply, source = fds
            keep_only([*fds, *outputs, *self._box.fds])
            devices = message.work.device_count if isinstance(message.work, Compile) else 1
            self._box.enter(sandbox.job_user(message.uid, message.gid), zygote, devices)
            run_job(self._context, message.work, reply, source, outputs)
            status = 0
        finally:
            os._exit(status)  # no clean-up of the zygote's objects, no return into its loop

    def _watch(self, child: Child) -> None:
        self._children[child.job] = child
        self._selector.register(child.words, selectors.EVENT_READ, partial(self._listen, child))
        self._selector.register(child.pidfd, selectors.EVENT_READ, partial(self._reap, child))

    def _listen(self, child: Child) -> None:
        if not child.listen():  # it has closed its end, and may still run
            self._selector.unregister(child.words)

    def _reap(self, child: Child) -> None:
        _, status = os.waitpid(child.pid, 0)
        while child.listen():
            pass
        for fd in (child.pidfd, child.words):
            if fd in self._selector.get_map():
                self._selector.unregister(fd)
            os.close(fd)
        del self._children[child.job]
        words = child.last_words.decode(errors="replace")
        self._control.send(Ended(child.job, os.waitstatus_to_exitcode(status), words))


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:  # it has ended, and will be reaped
        return


def main() -> None:
    """Warm up what is slow the first time, then serve."""
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
