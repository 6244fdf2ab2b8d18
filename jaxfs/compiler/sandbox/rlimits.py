"""Resource limits of a job: getrlimit(2)."""

from __future__ import annotations

import contextlib
import os
import resource

import msgspec

_STACK_BYTES = 64 << 20  # MLIR recurses; the kernel keeps 128 MiB free below the stack
_FILES = 64  # a few of its own, and those that an import opens
_ADDRESSES_BYTES = 256 << 30  # untouched address space costs nothing, its page tables do
_THREADS_PER_CORE = 16  # XLA starts a few pools, each with a thread for each core
_THREADS_PER_DEVICE = 5  # with several virtual devices; jaxlib 0.12 starts four, 0.10.2 two
_THREADS = 64


class Limits(msgspec.Struct, frozen=True):
    """The limits of one job.

    Attributes:
        memory_bytes: Private memory.
        file_bytes: The length of each of its output files.
        cpu_s: Seconds of CPU of all its threads; ends a job that outlives the front's deadline.
    """

    memory_bytes: int
    file_bytes: int
    cpu_s: int


def apply(limits: Limits, proc: int | None) -> None:
    """Sets the limits of this process, and makes it the first victim of the OOM killer.

    RLIMIT_DATA bounds memory: it counts private writable pages, and all others belong to files, are
    shared (which the seccomp filter refuses) or empty.

    Args:
        limits: The limits; a lower hard limit that the process has already remains.
        proc: A descriptor of /proc; None if it is hidden.
    """
    _set(resource.RLIMIT_CORE, 0)
    _set(resource.RLIMIT_NOFILE, _FILES)
    _set(resource.RLIMIT_FSIZE, limits.file_bytes)
    _set(resource.RLIMIT_CPU, limits.cpu_s)
    _set(resource.RLIMIT_MEMLOCK, 0)
    _set(resource.RLIMIT_DATA, limits.memory_bytes)
    _set(resource.RLIMIT_AS, limits.memory_bytes + _ADDRESSES_BYTES)
    _, hard = resource.getrlimit(resource.RLIMIT_STACK)
    soft = _STACK_BYTES if hard == resource.RLIM_INFINITY else min(_STACK_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_STACK, (soft, hard))
    _prefer_for_oom_killer(proc)


def limit_threads(before: int = 0, device_count: int = 1) -> None:
    """Sets RLIMIT_NPROC, which counts threads per user and user namespace, but not root's.

    Args:
        before: The threads that the user has already in this user namespace.
        device_count: The devices for which XLA will start threads.
    """
    cores = os.cpu_count() or 1
    own = _THREADS + _THREADS_PER_CORE * cores + _THREADS_PER_DEVICE * device_count
    _set(resource.RLIMIT_NPROC, before + own)


def _set(what: int, value: int) -> None:
    """Sets both limits, as far as the hard one permits: only root may raise it."""
    _, hard = resource.getrlimit(what)
    bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (bound, bound))


def _prefer_for_oom_killer(proc: int | None) -> None:
    """Sets the highest /proc/self/oom_score_adj (proc_pid_oom_score_adj(5))."""
    if proc is None:  # hidden in some containers
        return
    with contextlib.suppress(OSError):
        score = os.open("self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC, dir_fd=proc)
        try:
            os.write(score, b"1000")
        finally:
            os.close(score)
