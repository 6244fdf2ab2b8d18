"""How much of the machine a job may use."""

from __future__ import annotations

import contextlib
import os
import resource

import msgspec

_STACK_BYTES = 64 << 20  # MLIR recurses; the kernel keeps 128 MiB free below the stack
_FILES = 64  # its own few, and what an import opens
_ADDRESSES_BYTES = 256 << 30  # untouched address space costs nothing, its page tables do
_THREADS_A_CORE = 16  # XLA starts a few pools, each of a thread a core
_THREADS_A_DEVICE = 2  # of several virtual ones
_THREADS = 64


class Limits(msgspec.Struct, frozen=True):
    """For one job."""

    memory_bytes: int
    file_bytes: int  # of each file it hands back
    cpu_s: int  # of all its threads together: for when nobody is left to keep the deadline


def apply(limits: Limits, proc: int | None) -> None:
    """Set them.  ``proc`` is an open /proc.

    RLIMIT_DATA is what bounds memory: private pages that can be written count, all others are
    either files', shared (which the filter refuses) or empty.
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
    _go_first_when_memory_is_out(proc)


def limit_threads(before: int = 0, device_count: int = 1) -> None:
    """How many threads it may have, ``before`` being those of its user that count as well.

    Linux counts per user, and per user namespace; never for root.
    """
    cores = os.cpu_count() or 1
    own = _THREADS + _THREADS_A_CORE * cores + _THREADS_A_DEVICE * device_count
    _set(resource.RLIMIT_NPROC, before + own)


def _set(what: int, value: int) -> None:
    _, hard = resource.getrlimit(what)
    bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (bound, bound))


def _go_first_when_memory_is_out(proc: int | None) -> None:
    if proc is None:  # hidden in some containers
        return
    with contextlib.suppress(OSError):
        score = os.open("self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC, dir_fd=proc)
        try:
            os.write(score, b"1000")
        finally:
            os.close(score)
