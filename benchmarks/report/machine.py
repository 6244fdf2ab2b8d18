"""The machine in words: what figures depend on, and nothing that says whose it is."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

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


def load_per_core() -> float:
    """The load average of the last minute; over 1 before a run means others use the machine."""
    return os.getloadavg()[0] / len(os.sched_getaffinity(0))
