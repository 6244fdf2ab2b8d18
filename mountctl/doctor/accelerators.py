"""GPUs and TPUs: whether JAX can use those of the machine, and whether its users can.

JAX falls back to the CPU where a GPU does not work, so nothing here makes a mount impossible.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator

from jaxfs.posix import accelerator_obstacles as obstacles
from jaxfs.posix.accelerators import (
    TABLE,
    Accelerator,
    driver_version,
    install_command,
    package_version,
)
from jaxfs.posix.device_selection import PER_USER_FRACTION
from mountctl.doctor.finding import Examination, Finding, ok, warn

FOR_ALL = stat.S_IROTH | stat.S_IWOTH


def accelerators() -> Iterator[Finding]:
    """Checks that JAX can use each accelerator that is there, or that a plugin is installed for."""
    rows = [row for row in TABLE.values() if row.is_installed() or obstacles.has_hardware(row)]
    for row in rows:
        if not row.is_installed():
            yield warn(
                row.device,
                "there is one, and JAX has no plugin for it: mounts use the CPU",
                install_command(row),
            )
            continue
        found = [
            warn(row.device, one.found, one.remedy) for one in obstacles.obstacles(row.platform)
        ]
        yield from found or [ok(row.device, _described(row))]
        if not found:
            yield from _for_users(row)
    if not rows:
        yield ok("accelerators", "none: devices are CPUs")


def _described(row: Accelerator) -> str:
    """Returns the number of devices, and the versions of driver and plugin."""
    driver = driver_version()
    words = [f"{row.count()} of them"] if row.count() else []
    words += [f"driver {driver}"] if driver and row.platform == "cuda" else []
    words += [f"{name} {version}" for name in row.packages if (version := package_version(name))]
    return ", ".join(words) or "JAX has a plugin for it"


def _for_users(row: Accelerator) -> Iterator[Finding]:
    """Checks what -o engine=per-user needs: each user opens the devices, and has memory there."""
    subject = f"{row.device}s for users"
    if row.is_exclusive:
        yield ok(subject, "one process holds them: engine=per-user is refused, engine=shared works")
        return
    closed = [
        node for node in obstacles.device_nodes(row) if node.stat().st_mode & FOR_ALL != FOR_ALL
    ]
    for node in closed:
        found = f"{node} is open to the group {node.stat().st_gid} only"
        remedy = "users of engine=per-user have to be in that group, or chmod 666"
        yield warn(subject, found, remedy)
    if not closed:
        users = int(1 / PER_USER_FRACTION)
        found = f"all may open them; engine=per-user gives each {PER_USER_FRACTION} of the memory"
        yield ok(subject, f"{found}, which is enough for {users - 1}: -o memory_fraction")


EXAMINATIONS: tuple[Examination, ...] = (accelerators,)
