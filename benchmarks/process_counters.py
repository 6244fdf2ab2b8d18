"""What processes use while they serve calls: context switches, wake-ups, CPU time, instructions.

Sources: proc_pid_status(5) and Documentation/scheduler/sched-stats.rst (``schedstat``) for each
thread, perf_event_open(2) for instructions.  Many virtual machines have no hardware counters; then
instructions are not available.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}  # the number of the system call
_HARDWARE, _INSTRUCTIONS = 0, 1  # linux/perf_event.h: PERF_TYPE_, PERF_COUNT_HW_
_ATTRIBUTE_BYTES = 128
_FLAGS_OFFSET = 40
_INHERIT, _EXCLUDE_KERNEL, _EXCLUDE_HV = 1 << 1, 1 << 5, 1 << 6
_CLOSE_ON_EXEC = 1 << 3  # PERF_FLAG_FD_CLOEXEC
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Counters:
    """What one process, or one thread, used.

    Attributes:
        voluntary_switches: times it gave up the CPU to wait.
        involuntary_switches: times it was preempted.
        runs: times it was put on a CPU.
        cpu_ns: its time on a CPU, in the kernel and outside, in ns.
        instructions: retired outside the kernel; None where the kernel counts none.
    """

    voluntary_switches: int = 0
    involuntary_switches: int = 0
    runs: int = 0
    cpu_ns: int = 0
    instructions: int | None = None

    @property
    def wakeups(self) -> int:
        """Times it was put on a CPU after it had waited."""
        return max(0, self.runs - self.involuntary_switches)

    def __add__(self, other: Counters) -> Counters:
        return self._combined(other, 1)

    def __sub__(self, other: Counters) -> Counters:
        return self._combined(other, -1)

    def _combined(self, other: Counters, sign: int) -> Counters:
        return Counters(
            self.voluntary_switches + sign * other.voluntary_switches,
            self.involuntary_switches + sign * other.involuntary_switches,
            self.runs + sign * other.runs,
            self.cpu_ns + sign * other.cpu_ns,
        )


def threads(pid: int) -> list[int]:
    """The threads of a process, now.  Raises FileNotFoundError if it has ended."""
    return [int(path.name) for path in (PROC / str(pid) / "task").iterdir()]


def _read_thread(pid: int, thread: int) -> Counters:
    place = PROC / str(pid) / "task" / str(thread)
    rows = dict(row.split(":", 1) for row in (place / "status").read_text().splitlines())
    cpu_ns, _, runs = map(int, (place / "schedstat").read_text().split())
    voluntary, involuntary = rows["voluntary_ctxt_switches"], rows["nonvoluntary_ctxt_switches"]
    return Counters(int(voluntary), int(involuntary), runs, cpu_ns)


def _read_threads(pid: int) -> dict[int, Counters]:
    """The threads that are there; none of a process that has ended."""
    found = {}
    with suppress(FileNotFoundError):
        for thread in threads(pid):
            with suppress(FileNotFoundError, ProcessLookupError):
                found[thread] = _read_thread(pid, thread)
    return found


def open_instruction_counter(thread: int) -> int | None:
    """A descriptor that counts a thread's instructions; None where the kernel offers none."""
    number = _PERF_EVENT_OPEN.get(platform.machine())
    if number is None:
        return None
    attribute = bytearray(_ATTRIBUTE_BYTES)
    struct.pack_into("=IIQ", attribute, 0, _HARDWARE, _ATTRIBUTE_BYTES, _INSTRUCTIONS)
    flags = _INHERIT | _EXCLUDE_KERNEL | _EXCLUDE_HV
    struct.pack_into("=Q", attribute, _FLAGS_OFFSET, flags)
    buffer = (ctypes.c_char * len(attribute)).from_buffer(attribute)
    any_cpu, no_group = -1, -1
    fd = int(_libc.syscall(number, buffer, thread, any_cpu, no_group, _CLOSE_ON_EXEC))
    return fd if fd >= 0 else None


def instructions_available() -> bool:
    """Whether this kernel, on this machine, counts instructions for us."""
    fd = open_instruction_counter(0)
    if fd is None:
        return False
    os.close(fd)
    return True


class ProcessMeter:
    """The counters of one process from now on.

    Threads that end before ``used`` are not counted; their switches are few where servers keep
    their threads.
    """

    def __init__(self, pid: int) -> None:
        """Starts to count.  Raises FileNotFoundError if the process has ended."""
        self._pid = pid
        counters = [open_instruction_counter(thread) for thread in threads(pid)]
        self._counters = [fd for fd in counters if fd is not None]
        self._before = _read_threads(pid)

    def used(self) -> Counters:
        """What the process used since the start."""
        total = Counters()
        for thread, after in _read_threads(self._pid).items():
            total += after - self._before.get(thread, Counters())
        return Counters(
            total.voluntary_switches,
            total.involuntary_switches,
            total.runs,
            total.cpu_ns,
            self._instructions(),
        )

    def _instructions(self) -> int | None:
        if not self._counters:
            return None
        return sum(int.from_bytes(os.read(fd, 8), sys.byteorder) for fd in self._counters)

    def close(self) -> None:
        """Ends the counting of instructions."""
        for fd in self._counters:
            os.close(fd)


@contextmanager
def metered(processes: Mapping[str, int]) -> Iterator[dict[str, Counters]]:
    """Counts while the block runs; the dictionary has the counters of each process after it.

    Args:
        processes: names, and the pid of each.
    """
    meters = {name: ProcessMeter(pid) for name, pid in processes.items()}
    found: dict[str, Counters] = {}
    try:
        yield found
        found.update((name, meter.used()) for name, meter in meters.items())
    finally:
        for meter in meters.values():
            meter.close()
