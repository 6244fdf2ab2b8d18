"""The machine in words: what figures depend on, and nothing that identifies its owner."""

from __future__ import annotations

import os
import platform
import re
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_IDLE, _IOWAIT = 3, 4  # proc_stat(5)
PACKAGES = ("jax", "jaxlib", "pyfuse3", "trio", "fastapi", "uvicorn", "grpcio", "numpy")


def memory_bytes(row: str) -> int:
    """A row of /proc/meminfo: ``MemTotal``, ``MemAvailable``."""
    text = Path("/proc/meminfo").read_text()
    found = re.search(rf"^{row}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) << 10 if found else 0


def _processor() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def describe() -> dict[str, str]:
    """Name and value, in the order of the report."""
    kernel = re.match(r"[\d.]+", platform.release())  # the rest of a release may be a site's own
    return {
        "cores": str(len(os.sched_getaffinity(0))),
        "processor": _processor(),
        "memory": f"{memory_bytes('MemTotal') / (1 << 30):.0f} GiB",
        "kernel": f"Linux {kernel[0] if kernel else 'unknown'}",
        "python": platform.python_version(),
        **_versions(),
    }


def _cpu_ticks() -> tuple[int, int]:
    """(idle, all) of all CPUs since boot, from the first row of /proc/stat."""
    row = Path("/proc/stat").read_text().split("\n", 1)[0]
    ticks = [int(word) for word in row.split()[1:9]]
    return ticks[_IDLE] + ticks[_IOWAIT], sum(ticks)


def busy_fraction(seconds: float = 2.0) -> float:
    """How much of the CPUs others use now, 0 to 1, measured over some seconds."""
    idle, total = _cpu_ticks()
    time.sleep(seconds)
    idle_after, total_after = _cpu_ticks()
    return 1 - (idle_after - idle) / max(1, total_after - total)


def load_per_core() -> float:
    """The load average of the last minute; over 1 before a run means others use the machine."""
    return os.getloadavg()[0] / len(os.sched_getaffinity(0))
