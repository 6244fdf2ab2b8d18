"""Whether a run fits into memory, by the compiler's figures.

A run that cannot fit is refused before it starts: on a device it would fail half way, on a CPU the
kernel would kill some process for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from jaxfs.errors import NoSpace
from jaxfs.ipc.shared_memory import Pool
from jaxfs.programs.compiled import SMALL_BYTES, CompiledProgram, MemoryNeed

CGROUPS = Path("/sys/fs/cgroup")


class MemoryCheck:
    """Refuses runs that cannot fit.

    Attributes:
        limits: The bytes of devices that have memory of their own, by device name; runs on other
            devices use the machine's memory, and those on devices need some of it for outputs.
    """

    def __init__(self) -> None:
        self.limits: dict[str, int] = {}

    def check(self, compiled: CompiledProgram, pool: Pool) -> None:
        """Refuses a run that cannot fit; free memory of ``pool`` counts as available.

        Raises:
            NoSpace: It cannot; the reason has the figures.
        """
        if compiled.is_small:
            return
        need = compiled.need
        limits = [self.limits[name] for name in compiled.devices if name in self.limits]
        if limits:
            _compare(need, need.on_device, sum(limits), f"{compiled.device} has")
        on_host = need.beside_device if limits else need.on_host
        if on_host > SMALL_BYTES:  # reading /proc takes longer than a small run
            offered = available_bytes() + pool.free_bytes
            _compare(need, on_host, offered, "the machine has available")


def _compare(need: MemoryNeed, needed: int, offered: int, subject: str) -> None:
    """Compares the bytes that a run takes with those that ``subject`` has.

    Raises:
        NoSpace: There are too few.
    """
    if needed > offered:
        raise NoSpace(
            f"a run takes {needed} bytes of memory ({need.inputs} of inputs, {need.outputs} of "
            f"outputs, {need.temporary} temporary) and {subject} {offered}; use smaller arrays"
        )


def available_bytes() -> int:
    """Returns the memory available without swapping, at most what the cgroup leaves.

    The kernel's estimate for the machine is MemAvailable, see proc_meminfo(5).
    """
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return min([int(value.split()[0]) << 10, *_cgroup_free_bytes()])
    raise LookupError("/proc/meminfo has no MemAvailable")


def _cgroup_free_bytes() -> Iterator[int]:
    """Yields what is left in our cgroup (version 2) and in each one above it that has a limit."""
    paths = [line[3:] for line in _lines_of("/proc/self/cgroup") if line.startswith("0::")]
    ours = CGROUPS / paths[0].lstrip("/") if paths else CGROUPS
    for group in [ours, *ours.parents]:
        limit = _lines_of(group / "memory.max")
        if limit and limit[0].isdecimal():
            stat = dict(line.split() for line in _lines_of(group / "memory.stat"))
            used = int(_lines_of(group / "memory.current")[0]) - int(stat.get("inactive_file", 0))
            yield max(0, int(limit[0]) - used)


def _lines_of(path: Path | str) -> list[str]:
    """Returns the lines of a file; none where there is no such file.

    The root cgroup has no memory.max, and neither has one without the memory controller.
    """
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
