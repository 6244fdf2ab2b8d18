"""What the kernel offers to run users' code in a sandbox.

jaxfs uses the layers that exist, and ``health`` lists them.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from mountctl.doctor.finding import Examination, Finding, ok, warn

LANDLOCK_CREATE_RULESET, VERSION = 444, 1  # asm-generic/unistd.h, linux/landlock.h
ACTIONS = Path("/proc/sys/kernel/seccomp/actions_avail")
TRY_S = 5


def landlock() -> Iterator[Finding]:
    """Checks for Landlock, which restricts what files a process can open."""
    libc = ctypes.CDLL(None, use_errno=True)
    abi = libc.syscall(LANDLOCK_CREATE_RULESET, None, 0, VERSION)
    if abi > 0:
        yield ok("Landlock", f"ABI {abi}")
    else:
        yield warn("Landlock", "not in this kernel", "boot with lsm=landlock,... (Linux 5.13)")


def seccomp() -> Iterator[Finding]:
    """Checks for seccomp filters, which restrict system calls."""
    try:
        actions = ACTIONS.read_text().split()
    except OSError:
        actions = []
    if "kill_process" in actions:
        yield ok("seccomp", "filters")
    else:
        yield warn("seccomp", "no filters", "use a kernel with CONFIG_SECCOMP_FILTER")


def namespaces() -> Iterator[Finding]:
    """Checks that a plain user can create user namespaces."""
    unshare = shutil.which("unshare")
    status = 1
    if unshare is not None:
        command = [unshare, "--user", "--map-root-user", "true"]
        done = subprocess.run(command, capture_output=True, timeout=TRY_S, check=False)
        status = done.returncode
    if status == 0:
        yield ok("user namespaces", "can be made")
    else:
        remedy = (
            "sysctl user.max_user_namespaces=15000, kernel.apparmor_restrict_unprivileged_userns=0"
        )
        yield warn("user namespaces", "cannot be made", remedy)


EXAMINATIONS: tuple[Examination, ...] = (landlock, seccomp, namespaces)
