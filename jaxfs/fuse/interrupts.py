"""A signal ends a wait: FUSE_INTERRUPT for pyfuse3, which has no hook for it.

Without this a process that waits in a request cannot be ended, not even by SIGKILL, until the
daemon answers.  A handler that may wait asks at its start whose request it serves, and puts the
waiting into a context::

    async def read(self, fh, offset, size):
        caller = self.interrupts.current()      # before the first await
        with self.interrupts.interruptible(caller):
            await result.ready()                # jaxfs.errors.Interrupted: a signal came

A request that never enters the context costs one look at its header, in C.

*Which signals.*  The kernel interrupts a request on anything that makes the process leave its
sleep: also for SIGSTOP, a debugger, a frozen cgroup.  It cannot restart the system call of a
FUSE request, so EINTR would break a process that was merely stopped and continued.  So the
interrupt is only a reason to look at ``/proc/<tid>/status``: the wait ends if a signal is
pending that kills or that has a handler; not for ``HARMLESS`` ones.

*The kernel interrupts a request once.*  After a harmless signal no message comes for the SIGKILL
that follows, and answering EAGAIN only makes the kernel repeat what it said.  So a wait that
survived an interrupt is watched: its status is read every ``POLL_S``.

*Two more reasons to end a wait.*  The kernel aborts the whole mount when a request waits longer
than its limit, where it has one (``limits``): EINTR comes before, and whoever asks again goes on
waiting.  And ``shut`` ends all waits for good when the mount goes away.

*Without the C library* (no compiler when jaxfs was installed) every wait whose process is known
is watched in that way: correct, slower, and blind in read, write and flush, for which pyfuse3 does
not tell the process.
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

POLL_S = 0.02
POLL_DUTY = 20  # a pass over the watched waits takes at most 1/20 of the time
POLL_CHUNK = 64  # and blocks other requests for about 1.5 ms
KEPT_INTERRUPTS = 4096
FLUSH = 25  # FUSE_FLUSH, linux/fuse.h
PF_EXITING = 0x4  # linux/sched.h
PF_SIGNALED = 0x400

# Their default is not to end the process, so they must not end its system call.  A program that
# catches one (Go: SIGURG, shells: SIGCHLD, editors: SIGWINCH) sets SA_RESTART and does not expect
# EINTR.  SIGPROF is a profiler's tick; where nobody catches it the kernel makes it a SIGKILL.
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
_MASKS = re.compile(rb"SigPnd:\t(\w+)\nShdPnd:\t(\w+)\nSigBlk:\t(\w+)\nSigIgn:\t(\w+)\n")


class RequestInfo(NamedTuple):
    """Who sent a request: ``unique`` names it, ``pid`` is the thread (0 where unknown)."""

    unique: int
    opcode: int
    pid: int
    uid: int
    gid: int


class RequestContext(Protocol):
    """What pyfuse3 tells some handlers about the caller."""

    @property
    def pid(self) -> int: ...
    @property
    def uid(self) -> int: ...
    @property
    def gid(self) -> int: ...


class Library(Protocol):
    """``jaxfs.fuse._interrupts``, the C part."""

    def current(self) -> tuple[int, int, int, int, int]: ...
    def requests(self) -> int: ...
    def set_on_interrupt(self, callback: Callable[[int], None], /) -> None: ...


class _Wait:
    """One request inside ``interruptible``.

    A class, not a generator with ``@contextmanager``: every request that may wait passes here.
    """

    __slots__ = ("_interrupts", "caller", "interrupted", "scope")

    def __init__(self, interrupts: Interrupts, caller: RequestInfo) -> None:
        self._interrupts = interrupts
        self.caller = caller
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
            raise self._interrupts.why(self) from None
        return bool(caught)

    def end(self) -> None:
        self.interrupted = True
        self.scope.cancel()


class Interrupts:
    """The waits of this process's mount; made by ``load``, used from its one trio thread."""

    def __init__(self, library: Library | None, reason: str = "") -> None:
        self.reason = reason  # why there is no C library, or ""
        self.limit_s = math.inf  # how long one request may wait
        self._is_shut = False
        self._library = library
        self._uniques = itertools.count(-1, -1)
        self._waits: dict[int, _Wait] = {}
        self._watched: dict[int, _Wait] = {}
        self._watching = False
        self._interrupted: dict[int, None] = {}  # the requests lately interrupted, oldest first
        if library is not None:
            library.set_on_interrupt(self._on_interrupt)

    def end_all(self) -> None:
        """End every wait, and each one that begins from now on, with Unmounted."""
        self._is_shut = True
        for wait in self._waits.values():
            wait.scope.cancel()

    def active(self) -> bool:
        """Whether requests really pass through the C library; meaningful once one was served."""
        return self._library is not None and self._library.requests() > 0

    def current(self, ctx: RequestContext | None = None) -> RequestInfo:
        """Whose request the handler serves; to be called before the handler's first await.

        ``ctx`` is pyfuse3's, where the handler got one: all there is without the C library.
        """
        if self._library is not None:
            return RequestInfo(*self._library.current())
        if ctx is None:
            return RequestInfo(next(self._uniques), 0, 0, 0, 0)
        return RequestInfo(next(self._uniques), 0, ctx.pid, ctx.uid, ctx.gid)

    def interruptible(self, caller: RequestInfo) -> AbstractContextManager[None]:
        """The part of a handler that waits; raises Interrupted when a signal ended it.

        What was finished when the signal came stays finished: no exception then.  One such part
        at a time in a request.  The flush of a process that exits does not wait at all: no signal
        can reach that process any more and nobody sees the answer.
        """
        return _Wait(self, caller)

    def forget(self, wait: _Wait) -> None:
        """It waits no longer."""
        del self._waits[wait.caller.unique]
        if self._watched:
            self._watched.pop(wait.caller.unique, None)

    def why(self, wait: _Wait) -> errors.JaxfsError:
        """The reason to tell for a wait that was ended."""
        if wait.interrupted:
            return errors.Interrupted(f"a signal ended the wait of process {wait.caller.pid}")
        if self._is_shut:
            return errors.Unmounted("the filesystem is being unmounted")
        return errors.Interrupted(f"the kernel lets no request wait {self.limit_s:g} s; ask again")

    def begin(self, wait: _Wait) -> None:
        """It may be over before it begins."""
        self._waits[wait.caller.unique] = wait
        if self.limit_s != math.inf:
            wait.scope.deadline = trio.current_time() + self.limit_s
        if self._is_shut:
            wait.scope.cancel()
        elif wait.caller.opcode == FLUSH and is_exiting(wait.caller.pid):
            wait.end()
        elif wait.caller.unique in self._interrupted:
            self._judge(wait)
        elif self._library is None and wait.caller.pid:
            self._watch(wait)

    def _on_interrupt(self, unique: int) -> None:
        """The kernel interrupts a request: perhaps not waiting yet, or answered already."""
        self._interrupted[unique] = None
        if len(self._interrupted) > KEPT_INTERRUPTS:
            del self._interrupted[next(iter(self._interrupted))]
        if wait := self._waits.get(unique):
            self._judge(wait)

    def _judge(self, wait: _Wait) -> None:
        if must_end(wait.caller.pid):
            wait.end()
        else:
            self._watch(wait)

    def _watch(self, wait: _Wait) -> None:
        self._watched[wait.caller.unique] = wait
        if not self._watching:
            self._watching = True
            trio.lowlevel.spawn_system_task(self._poll)

    async def _poll(self) -> None:
        """Runs only while there is something to watch; a system task, outliving its requests."""
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
                if wait.caller.unique in self._watched and must_end(wait.caller.pid):
                    wait.end()
            pause_s = max(POLL_S, POLL_DUTY * (time.perf_counter() - began))


def must_end(pid: int) -> bool:
    """Whether a signal is pending that ends the wait of thread ``pid``, or the thread is gone.

    True also for a thread that cannot be seen (pid 0: it lives in another pid namespace), for a
    wait that nobody can end is worse than one that ended for a harmless signal.
    """
    try:
        masks = _MASKS.search(Path(f"/proc/{pid}/status").read_bytes())
    except OSError:
        return True
    if masks is None:
        return True
    own, shared, blocked, ignored = (int(mask, 16) for mask in masks.groups())
    return bool((own | shared) & ~blocked & ~ignored & ~_HARMLESS_MASK)


def is_exiting(pid: int) -> bool:
    """Whether the kernel is closing the files of ``pid`` because it ends."""
    return bool(_task_flags(pid) & PF_EXITING)


def closes_what_it_wrote(pid: int, writer: int) -> bool:
    """Whether thread ``pid``, which closes a file, means that it is complete.

    It does not when a signal killed it, nor when ``writer``, the thread that wrote last, is another
    process that goes on: a program that starts another one while it writes closes the file in the
    child, and the kernel flushes it there.
    """
    if _task_flags(pid) & PF_SIGNALED:
        return False
    if writer in (0, pid) or Path(f"/proc/{pid}/task/{writer}").exists():
        return True
    flags = _task_flags(writer)
    return flags == 0 or bool(flags & PF_EXITING)


def _task_flags(pid: int) -> int:
    """0 where there is no such task; one that runs has some flag set, PF_FORKNOEXEC or so."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        stat = os.read(fd, 4096)
    except ProcessLookupError:
        return 0
    finally:
        os.close(fd)
    return int(stat.rpartition(b")")[2].split()[6])


def load() -> Interrupts:
    """The interrupts of this process; to be called once, before pyfuse3 is imported.

    ``reason`` of what comes back tells why the C library is not used, if so.
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
