"""A signal ends a wait: FUSE_INTERRUPT for pyfuse3, which has no hook for it.

Without this a process that waits in a request cannot be ended, not even by SIGKILL, until the
daemon answers.  A handler that may wait asks at its start which request it serves, and puts the
waiting into a context::

    async def read(self, fh, offset, size):
        request = self.interrupts.current()     # before the first await
        with self.interrupts.interruptible(request):
            await result.ready()                # jaxfs.errors.Interrupted: a signal came

A request that never enters the context costs one look at its header, in C.

*Which signals.*  The kernel interrupts a request on anything that makes the process leave its
sleep: also for SIGSTOP, a debugger, a frozen cgroup.  It cannot restart the system call of a
FUSE request, so EINTR would break a process that was merely stopped and continued.  So the
interrupt is only a reason to look at ``/proc/<tid>/status``: the wait ends if a signal is
pending that kills or that has a handler; not for ``HARMLESS`` ones.

*The kernel interrupts a request once.*  After a harmless signal no message comes for the SIGKILL
that follows, and answering EAGAIN only makes the kernel send the same interrupt again.  So a wait
that survived an interrupt is watched: the status of its process is read every ``POLL_S``.

*Two more reasons to end a wait.*  Some kernels have a limit for requests, and abort the whole mount
when one waits longer (``session.wait_limit_s``): it is answered with EINTR before, and a process
that asks again continues to wait.  And ``end_all`` ends all waits when the mount is removed.

*Without the C library* (no compiler when jaxfs was installed) every wait is watched in that way if
its process is known: correct and slower, but read, write and flush cannot be interrupted, because
pyfuse3 does not pass their process on.
"""

from __future__ import annotations

import importlib
import itertools
import math
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol, cast

import trio

from jaxfs import errors
from jaxfs.fuse.request_queue import RequestReceiver

POLL_S = 0.02
POLL_DUTY = 20  # a pass over the watched waits takes at most 1/20 of the time
POLL_CHUNK = 64  # and blocks other requests for about 1.5 ms
KEPT_INTERRUPTS = 4096
FLUSH = 25  # FUSE_FLUSH, linux/fuse.h
STAT_FLAGS = 9 - 3  # a field of proc_pid_stat(5), counted from the third

# Their default is not to end the process, so they must not end its system call.  A program that
# catches one (Go: SIGURG, shells: SIGCHLD, editors: SIGWINCH) sets SA_RESTART and does not expect
# EINTR.  SIGPROF is a profiler's tick; if it is not caught the kernel makes it a SIGKILL.
HARMLESS = frozenset(
    {
        signal.SIGSTOP,
        signal.SIGTSTP,
        signal.SIGTTIN,
        signal.SIGTTOU,
        signal.SIGCONT,
        signal.SIGCHLD,
        signal.SIGURG,
        signal.SIGWINCH,
        signal.SIGPROF,
    }
)
_HARMLESS_MASK = sum(1 << (number - 1) for number in HARMLESS)
_HAS_MEMORY = b"\nVmSize:"
_IS_EMPTY = re.compile(rb"\nVmData:\s+0 kB\nVmStk:.*\nVmExe:\s+0 kB\n")  # no program yet
_MASKS = re.compile(rb"SigPnd:\t(\w+)\nShdPnd:\t(\w+)\nSigBlk:\t(\w+)\nSigIgn:\t(\w+)\n")


class RequestInfo(NamedTuple):
    """A request and its sender, from ``struct fuse_in_header``; 0 for what is unknown.

    Attributes:
        unique: Identifies the request.
        opcode: Its kind.
        pid: The thread that waits for it.
        uid: The thread's user.
        gid: The thread's group.
    """

    unique: int
    opcode: int
    pid: int
    uid: int
    gid: int


class RequestContext(Protocol):
    """What pyfuse3 passes to some handlers about the caller."""

    @property
    def pid(self) -> int:
        """The thread."""

    @property
    def uid(self) -> int:
        """Its user."""

    @property
    def gid(self) -> int:
        """Its group."""


class Library(RequestReceiver, Protocol):
    """The C part, ``jaxfs.fuse._interrupts``."""

    def current(self) -> tuple[int, int, int, int, int]:
        """Returns the fields of ``RequestInfo`` for the request that was dispatched last."""

    def set_on_interrupt(self, callback: Callable[[int], None], /) -> None:
        """Has ``callback`` called with the ``unique`` of each interrupted request."""


class _Wait:
    """One request inside ``interruptible``.

    A class, not a generator with ``@contextmanager``, which is slower: every request that may wait
    passes here.

    Attributes:
        request: The request.
        scope: What it waits in.
        interrupted: Whether a signal ended the wait.
    """

    __slots__ = ("_interrupts", "interrupted", "request", "scope")

    def __init__(self, interrupts: Interrupts, request: RequestInfo) -> None:
        self._interrupts = interrupts
        self.request = request
        self.scope = trio.CancelScope()
        self.interrupted = False

    def __enter__(self) -> None:
        self._interrupts.begin(self)
        self.scope.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        try:
            caught = self.scope.__exit__(kind, error, trace)
        finally:
            self._interrupts.forget(self)
        if self.scope.cancelled_caught:
            raise self._interrupts.reason_to_end(self) from None
        return bool(caught)

    def end(self) -> None:
        """Ends the wait because of a signal."""
        self.interrupted = True
        self.scope.cancel()


class Interrupts:
    """The waits of this process's mount; made by ``load``, used from its one trio thread.

    Attributes:
        library: The C part, or None.
        reason: Why there is no C library; empty if there is one.
        limit_s: How long one request may wait.
    """

    def __init__(self, library: Library | None, reason: str = "") -> None:
        self.reason = reason
        self.limit_s = math.inf
        self._is_ending = False
        self.library = library
        self._uniques = itertools.count(-1, -1)
        self._waits: dict[int, _Wait] = {}
        self._watched: dict[int, _Wait] = {}
        self._watching = False
        self._interrupted: dict[int, None] = {}  # the requests lately interrupted, oldest first
        if library is not None:
            library.set_on_interrupt(self._on_interrupt)

    def end_all(self) -> None:
        """Ends every wait, and each one that begins from now on, with Unmounted."""
        self._is_ending = True
        for wait in self._waits.values():
            wait.scope.cancel()

    def current(self, ctx: RequestContext | None = None) -> RequestInfo:
        """Returns the request the handler serves; call it before the handler's first await.

        Args:
            ctx: pyfuse3's, if the handler has one; needed only without the C library.
        """
        if self.library is not None:
            return RequestInfo(*self.library.current())
        if ctx is None:
            return RequestInfo(next(self._uniques), 0, 0, 0, 0)
        return RequestInfo(next(self._uniques), 0, ctx.pid, ctx.uid, ctx.gid)

    def interruptible(self, request: RequestInfo) -> AbstractContextManager[None]:
        """Returns a context for the part of a handler that waits, one at a time in a request.

        What was finished when the signal came stays finished: no exception then.  The flush of a
        process that exits does not wait at all: no signal can reach that process any more, and it
        does not see the answer.

        Raises:
            Interrupted: From the context, when a signal ended the wait, or the kernel's limit.
            Unmounted: From the context, after ``end_all``.
        """
        return _Wait(self, request)

    def forget(self, wait: _Wait) -> None:
        """Removes a wait that has ended."""
        del self._waits[wait.request.unique]
        if self._watched:
            self._watched.pop(wait.request.unique, None)

    def reason_to_end(self, wait: _Wait) -> errors.JaxfsError:
        """Returns the error for a wait that was ended."""
        if wait.interrupted:
            return errors.Interrupted(f"a signal ended the wait of process {wait.request.pid}")
        if self._is_ending:
            return errors.Unmounted("the filesystem is being unmounted")
        return errors.Interrupted(f"the kernel lets no request wait {self.limit_s:g} s; ask again")

    def begin(self, wait: _Wait) -> None:
        """Adds a wait, which may have to end before it begins."""
        self._waits[wait.request.unique] = wait
        if self.limit_s != math.inf:
            wait.scope.deadline = trio.current_time() + self.limit_s
        if self._is_ending:
            wait.scope.cancel()
        elif wait.request.opcode == FLUSH and closes_unseen(wait.request.pid):
            wait.end()
        elif wait.request.unique in self._interrupted:
            self._judge(wait)
        elif self.library is None and wait.request.pid:
            self._watch(wait)

    def _on_interrupt(self, unique: int) -> None:
        """Handles the interrupt of a request that may not wait yet, or be answered already."""
        self._interrupted[unique] = None
        if len(self._interrupted) > KEPT_INTERRUPTS:
            del self._interrupted[next(iter(self._interrupted))]
        if wait := self._waits.get(unique):
            self._judge(wait)

    def _judge(self, wait: _Wait) -> None:
        if must_end(wait.request.pid):
            wait.end()
        else:
            self._watch(wait)

    def _watch(self, wait: _Wait) -> None:
        """Adds a wait to those that the polling task looks at; starts the task if it has ended."""
        self._watched[wait.request.unique] = wait
        if not self._watching:
            self._watching = True
            trio.lowlevel.spawn_system_task(self._poll)

    async def _poll(self) -> None:
        """Runs while there are waits to watch; a system task, because it outlives requests."""
        try:
            while self._watched:
                await self._poll_once(list(self._watched.values()))
        finally:
            self._watching = False

    async def _poll_once(self, waits: list[_Wait]) -> None:
        pause_s = POLL_S
        for start in range(0, len(waits), POLL_CHUNK):
            await trio.sleep(pause_s)
            began = time.perf_counter()
            for wait in waits[start : start + POLL_CHUNK]:
                if wait.request.unique in self._watched and must_end(wait.request.pid):
                    wait.end()
            pause_s = max(POLL_S, POLL_DUTY * (time.perf_counter() - began))


def must_end(pid: int) -> bool:
    """Returns whether a signal is pending that ends the wait of a thread, or the thread is gone.

    True also for a thread that cannot be seen (pid 0: it is in another pid namespace), because a
    wait that cannot be ended is worse than one that ended for a harmless signal.
    """
    try:
        masks = _MASKS.search(Path(f"/proc/{pid}/status").read_bytes())
    except OSError:
        return True
    if masks is None:
        return True
    own, shared, blocked, ignored = (int(mask, 16) for mask in masks.groups())
    return bool((own | shared) & ~blocked & ~ignored & ~_HARMLESS_MASK)


def closes_unseen(pid: int) -> bool:
    """Returns whether the kernel is closing files of ``pid``, which ends or is in execve(2).

    It sees no error then.  In execve(2) it must not wait either: ps(1) of any user waits for it.
    """
    status = _status(pid)
    return bool(status) and (_HAS_MEMORY not in status or _IS_EMPTY.search(status) is not None)


def _status(pid: int) -> bytes:
    """Returns proc_pid_status(5); nothing for a task that is gone or hidden."""
    try:
        return Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return b""


def has_memory(pid: int) -> bool | None:
    """Returns whether a task has memory: it gives that up before it closes its files at its end.

    proc_pid_stat(5) would show its flags, but reading that waits while the task is in execve(2)
    (Linux 6.18: ``exec_update_lock``), which closes files and so waits for us: both would wait for
    ever, and with them the whole mount.  proc_pid_status(5) waits for nothing.

    Returns:
        None for a task that is gone or hidden.
    """
    status = _status(pid)
    return _HAS_MEMORY in status if status else None


def task_stat(pid: int) -> list[bytes]:
    """Returns the fields of proc_pid_stat(5) from the third on, of a task that ends.

    Returns:
        No fields for one that is gone, or that does not end: see ``has_memory``.
    """
    if has_memory(pid) is not False:
        return []
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        stat = os.read(fd, 4096)
    except ProcessLookupError:
        return []
    finally:
        os.close(fd)
    return stat.rpartition(b")")[2].split()


def load() -> Interrupts:
    """Returns the interrupts of this process; call it once, before pyfuse3 is imported.

    If the C library cannot be used, ``reason`` of the result has the cause.
    """
    if "pyfuse3" in sys.modules:
        return Interrupts(None, "pyfuse3 was imported before jaxfs.fuse.interrupts.load()")
    flags = sys.getdlopenflags()
    sys.setdlopenflags(flags | os.RTLD_GLOBAL)
    try:
        library = importlib.import_module("jaxfs.fuse._interrupts")
        return Interrupts(cast(Library, library))
    except ImportError as error:
        return Interrupts(None, f"{error}; install jaxfs where there is a C compiler")
    finally:
        sys.setdlopenflags(flags)
