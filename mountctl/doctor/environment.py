"""What is installed and what is mounted."""

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
    """Checks that a shell finds mountctl."""
    path = shutil.which("mountctl")
    if path is None:
        yield warn("mountctl", "not on the PATH", "add the bin directory of its environment")
    else:
        yield ok("mountctl", path)


def helpers() -> Iterator[Finding]:
    """Checks that mount(8) can mount jaxfs."""
    if os.access("/sbin/mount.jaxfs", os.X_OK):
        yield ok("mount helpers", "/sbin/mount.jaxfs")
    else:
        found = "none: mount -t jaxfs, fstab lines and the systemd unit do not work"
        yield warn("mount helpers", found, "as root: mountctl install")


def mounts() -> Iterator[Finding]:
    """Checks that the mounts there are answer."""
    found = status.statuses(None)
    for mount in found:
        subject = f"mount {mount.mountpoint}"
        if mount.state in REMEDIES:
            yield fail(subject, mount.state, REMEDIES[mount.state].format(mount.mountpoint))
        elif mount.damaged_records:
            yield warn(
                subject,
                f"{mount.state}, without {mount.damaged_records} damaged files of its state "
                "directory",
                f"mountctl logs {mount.mountpoint} | grep damaged; write what they name again",
            )
        else:
            yield ok(subject, mount.state)
    if not found:
        yield ok("mounts", "none")


EXAMINATIONS: tuple[Examination, ...] = (command, helpers, mounts)
