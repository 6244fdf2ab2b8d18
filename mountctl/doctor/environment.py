"""What was installed and what is mounted."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

from mountctl import status
from mountctl.doctor.finding import Examination, Finding, fail, ok, warn

REMEDIES = {
    "stale": "mountctl umount {0}",
    "hung": "mountctl logs {0}, then mountctl umount --force {0}",
    "degraded": "cat {0}/health; mountctl logs {0}",
}


def command() -> Iterator[Finding]:
    path = shutil.which("mountctl")
    if path is None:
        yield warn("mountctl", "not on the PATH", "add the bin directory of its environment")
    else:
        yield ok("mountctl", path)


def helpers() -> Iterator[Finding]:
    if os.access("/sbin/mount.jaxfs", os.X_OK):
        yield ok("mount helpers", "/sbin/mount.jaxfs")
    else:
        found = "none: mount -t jaxfs, fstab lines and the systemd unit do not work"
        yield warn("mount helpers", found, "as root: mountctl install")


def mounts() -> Iterator[Finding]:
    found = status.statuses(None)
    for one in found:
        subject = f"mount {one.mountpoint}"
        if one.state in REMEDIES:
            yield fail(subject, one.state, REMEDIES[one.state].format(one.mountpoint))
        else:
            yield ok(subject, one.state)
    if not found:
        yield ok("mounts", "none")


EXAMINATIONS: tuple[Examination, ...] = (command, helpers, mounts)
