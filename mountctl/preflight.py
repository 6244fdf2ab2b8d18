"""Checks before a daemon is started, so that usual mistakes are reported at once.

Each check is a function of the request and raises one kind of error; ``CHECKS`` is their order.
The daemon would fail on most of these too, later and with libfuse's messages.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import attrs

from jaxfs.options import Options
from mountctl import errors

FUSE_DEVICE = Path("/dev/fuse")
FUSE_CONF = Path("/etc/fuse.conf")
STATUS = Path("/proc/self/status")
CAP_SYS_ADMIN = 21  # capabilities(7)
_IN_CONTAINERS = f"give the container the device (--device {FUSE_DEVICE} --cap-add SYS_ADMIN)"
_REMEDIES = {
    errno.EACCES: f"as root: chmod 666 {FUSE_DEVICE}, which most systems have",
    errno.EPERM: _IN_CONTAINERS,
}


@attrs.frozen
class PreflightRequest:
    """What the checks look at.

    Attributes:
        mountpoint: Absolute path.
        options: The mount options.
        uid: The user that mounts.
    """

    mountpoint: str
    options: Options
    uid: int = attrs.field(factory=os.geteuid)

    @property
    def is_root(self) -> bool:
        """Whether root mounts, who needs no fusermount3."""
        return self.uid == 0


def exists(request: PreflightRequest) -> None:
    """Raises NoMountPoint if nothing has the mount point's path."""
    if not os.path.lexists(request.mountpoint):
        raise errors.NoMountPoint(
            f"{request.mountpoint} does not exist; create it: mkdir -p {request.mountpoint}"
        )


def is_directory(request: PreflightRequest) -> None:
    """Raises NotADirectory if the mount point is something else."""
    if not Path(request.mountpoint).is_dir():
        raise errors.NotADirectory(f"{request.mountpoint} is not a directory")


def is_permitted(request: PreflightRequest) -> None:
    """Raises NotPermitted where fusermount3 would refuse a plain user.

    It requires write permission, and ownership of a sticky directory.  The owner may lack write
    permission: the guard of an earlier mount took it, and this mount restores it.
    """
    if request.is_root or Path(request.mountpoint).stat().st_uid == request.uid:
        return
    if not os.access(request.mountpoint, os.W_OK | os.X_OK):
        raise errors.NotPermitted(
            f"{request.mountpoint} is not writable for you; mount on a directory of your own"
        )
    if Path(request.mountpoint).stat().st_mode & stat.S_ISVTX:
        raise errors.NotPermitted(
            f"{request.mountpoint} is sticky and not yours; mount on a directory of your own"
        )


def is_empty(request: PreflightRequest) -> None:
    """Raises NotEmpty if the mount would hide files, unless ``nonempty`` allows it."""
    if request.options.nonempty:
        return
    try:
        names = sorted(path.name for path in Path(request.mountpoint).iterdir())
    except PermissionError:
        raise errors.NotPermitted(f"{request.mountpoint} is not readable for you") from None
    if names:
        raise errors.NotEmpty(
            f"{request.mountpoint} is not empty (it has {names[0]}); the mount would hide that:"
            " choose another directory, or mount over it with -o nonempty"
        )


def has_fuse(_request: PreflightRequest) -> None:
    """Raises NoFuse if the device does not open.

    Its mode does not show that: a container may be forbidden to open a device it has.
    """
    try:
        os.close(os.open(FUSE_DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        raise errors.NoFuse(
            f"{FUSE_DEVICE} is missing: load the module (modprobe fuse), or {_IN_CONTAINERS}"
        ) from None
    except OSError as error:
        found = f"{FUSE_DEVICE} cannot be opened ({os.strerror(error.errno or errno.EIO).lower()})"
        remedy = _REMEDIES.get(error.errno or errno.EIO, "load the module (modprobe fuse)")
        raise errors.NoFuse(f"{found}: {remedy}") from None


def may_mount(_request: PreflightRequest) -> None:
    """Raises NoFusermount if the capability bounding set has no CAP_SYS_ADMIN.

    Then fusermount3, which is setuid root, does not get the capability either.
    """
    with contextlib.suppress(OSError):
        found = re.search(r"^CapBnd:\s*([0-9a-f]+)$", STATUS.read_text(), re.MULTILINE)
        if found and not int(found[1], 16) >> CAP_SYS_ADMIN & 1:
            raise errors.NoFusermount(
                f"no user may mount here, as in most containers: {_IN_CONTAINERS}"
            )


def has_fusermount(request: PreflightRequest) -> None:
    """Raises NoFusermount if a plain user has no fusermount3."""
    if not request.is_root and shutil.which("fusermount3") is None:
        raise errors.NoFusermount(
            "fusermount3 is missing, and only root can mount without it; install fuse3"
        )


def may_allow_others(request: PreflightRequest) -> None:
    """Raises NoFusermount if a plain user asks for allow_other and fuse.conf forbids it."""
    wanted = [n for n in ("allow_other", "allow_root") if getattr(request.options, n)]
    if request.is_root or not wanted or allows_others():
        return
    raise errors.NoFusermount(
        f"option {wanted[0]} is root's, unless user_allow_other is set in {FUSE_CONF}"
    )


def allows_others() -> bool:
    """Returns whether fuse.conf lets plain users use allow_other."""
    try:
        text = FUSE_CONF.read_text()
    except OSError:
        return False
    return re.search(r"^\s*user_allow_other\s*$", text, re.MULTILINE) is not None


CHECKS: tuple[Callable[[PreflightRequest], None], ...] = (
    exists,
    is_directory,
    is_permitted,
    is_empty,
    has_fuse,
    may_mount,
    has_fusermount,
    may_allow_others,
)
