"""What a run needs, by the compiler's figures, against the memory there is.

A run that cannot fit is refused before it starts: on a device it would fail half way, on a CPU the
kernel would end some process for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from jaxfs.errors import NoSpace
from jaxfs.ipc.shared_memory import Pool
from jaxfs.programs.compiled import SMALL_BYTES, CompiledProgram, MemoryNeed

CGROUPS = Path("/sys/fs/cgroup")


class MemoryCheck:
    """Says whether a run fits.

    ``limits`` are the bytes of those devices that have memory of their own, by name; the others
    use the machine's.
    """

    def __init__(self) -> None:
        self.limits: dict[str, int] = {}

    def check(self, version: CompiledProgram, pool: Pool) -> None:
        """Raises NoSpace with the numbers where a run of this version cannot fit.

        Free memory of ``pool`` is memory the run can have.
        """
        if version.is_small:
            return
        need = version.need
        limits = [self.limits[name] for name in version.devices if name in self.limits]
        if limits:
            _compare(need, need.on_device, sum(limits), f"{version.device} has")
        elif need.on_host > SMALL_BYTES:  # else spare the look, which takes longer than a small run
            offered = available_bytes() + pool.free_bytes
            _compare(need, need.on_host, offered, "the machine has available")


def _compare(need: MemoryNeed, needed: int, offered: int, who: str) -> None:
    if needed > offered:
        raise NoSpace(
            f"a run takes {needed} bytes of memory ({need.inputs} of inputs, {need.outputs} of "
            f"outputs, {need.temporary} temporary) and {who} {offered}; use smaller arrays"
        )


def available_bytes() -> int:
    """Memory of the machine that can be had without swapping, no more than the cgroup allows."""
    return min([_meminfo("MemAvailable"), *_cgroup_free_bytes()])


def _meminfo(key: str) -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) << 10
    raise LookupError(f"/proc/meminfo has no {key}")


def _cgroup_free_bytes() -> Iterator[int]:
    """What is left in our cgroup (version 2) and each one above it that has a limit."""
    paths = [line[3:] for line in _lines_of("/proc/self/cgroup") if line.startswith("0::")]
    ours = CGROUPS / paths[0].lstrip("/") if paths else CGROUPS
    for place in [ours, *ours.parents]:
        limit = _lines_of(place / "memory.max")
        if limit and limit[0].isdecimal():
            stat = dict(line.split() for line in _lines_of(place / "memory.stat"))
            used = int(_lines_of(place / "memory.current")[0]) - int(stat.get("inactive_file", 0))
            yield max(0, int(limit[0]) - used)


def _lines_of(path: Path | str) -> list[str]:
    """The lines of a file, none where it is not there."""
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
