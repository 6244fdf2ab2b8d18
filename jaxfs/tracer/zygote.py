"""The process that has everything imported and forks a child for each job.

    python -m jaxfs.tracer.zygote FD BYTES

It has one thread and no JAX backend, so that a fork is safe, and it looks at no user's bytes.
Importing jax takes 0.6 s once instead of for every job.  When the front's end of the control socket
closes, it ends its children and itself.  No child gets more than BYTES of memory.
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
from typing import Any

import msgspec

from jaxfs import jaxcompat
from jaxfs.tracer.child import run_job
from jaxfs.tracer.process import die_with_parent, drop_privileges, keep_only
from jaxfs.tracer.protocol import Ended, Hello, Job, Kill, Request
from jaxfs.tracer.trace import trace
from jaxfs.wire.channel import Channel, Closed

MAX_LAST_WORDS = 4096  # bytes of what a dying child wrote to stderr

_WARM_UP = b"""
func.func @main(%x: tensor<2xf32>) -> tensor<2xf32> {
  %0 = stablehlo.add %x, %x : tensor<2xf32>
  return %0 : tensor<2xf32>
}
"""


class Child(msgspec.Struct, frozen=True):
    """A job under way.  ``pidfd`` becomes readable when it ends; ``words`` is its stderr."""

    job: int
    pid: int
    pidfd: int
    words: int


class Zygote:
    """Forks, kills and reaps; nothing here blocks but the wait for the next event."""

    def __init__(self, control: socket.socket, context: Any, memory_bytes: int) -> None:
        self._control: Channel[Request] = Channel(control, Request)
        self._context = context
        self._memory_bytes = memory_bytes
        self._children: dict[int, Child] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ, None)

    def serve(self) -> None:
        """Until the front closes its end."""
        self._control.send(Hello(os.getpid(), jaxcompat.toolchain()))
        try:
            while True:
                for key, _ in self._selector.select():
                    if key.data is None:
                        self._handle(*self._control.receive())
                    else:
                        self._reap(key.data)
        except Closed:
            for child in self._children.values():
                _kill_group(child.pid)

    def _handle(self, message: Request, fds: list[int]) -> None:
        if isinstance(message, Job):
            self._start(message, fds)
        elif isinstance(message, Kill) and message.job in self._children:
            _kill_group(self._children[message.job].pid)
        for fd in fds:
            os.close(fd)

    def _start(self, message: Job, fds: list[int]) -> None:
        words = os.memfd_create("stderr", os.MFD_CLOEXEC)
        zygote = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become_child(message, fds, words, zygote)
        os.setpgid(pid, pid)  # here too: a Kill may come before the child has done it
        child = Child(message.job, pid, os.pidfd_open(pid), words)
        self._children[message.job] = child
        self._selector.register(child.pidfd, selectors.EVENT_READ, child)

    def _become_child(self, message: Job, fds: list[int], words: int, zygote: int) -> None:
        status = 1
        try:
            die_with_parent(zygote)
            os.setpgid(0, 0)
            os.dup2(words, 1)
            os.dup2(words, 2)
            reply, source = fds
            keep_only(fds)
            drop_privileges(self._memory_bytes)
            run_job(self._context, message.work, reply, source)
            status = 0
        finally:
            os._exit(status)  # no clean-up of the zygote's objects, no return into its loop

    def _reap(self, child: Child) -> None:
        _, status = os.waitpid(child.pid, 0)
        self._selector.unregister(child.pidfd)
        del self._children[child.job]
        ended = Ended(child.job, os.waitstatus_to_exitcode(status), _last_words(child.words))
        for fd in (child.pidfd, child.words):
            os.close(fd)
        self._control.send(ended)


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:  # it has ended, and will be reaped
        return


def _last_words(fd: int) -> str:
    size = os.fstat(fd).st_size
    return os.pread(fd, MAX_LAST_WORDS, max(0, size - MAX_LAST_WORDS)).decode(errors="replace")


def main() -> None:
    """Warm up what is slow the first time, then serve."""
    die_with_parent(os.getppid())
    control = socket.socket(fileno=int(sys.argv[1]))
    context = jaxcompat.make_context()
    trace(context, _WARM_UP, "cpu")
    gc.collect()
    gc.freeze()  # children's collections would copy every page of what is imported here
    Zygote(control, context, int(sys.argv[2])).serve()


if __name__ == "__main__":
    main()
