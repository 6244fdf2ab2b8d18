"""What has to hold before a daemon is started, so that the usual mistakes are told at once.

Each check is a function of the request that raises one kind of error; ``CHECKS`` is their order.
The daemon would fail on most of these too, later and in libfuse's words.
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
    """What is asked for: an absolute mount point, and who asks."""

    mountpoint: str
    options: Options
    uid: int = attrs.field(factory=os.geteuid)

    @property
    def is_root(self) -> bool:
        return self.uid == 0


def exists(request: PreflightRequest) -> None:
    if not os.path.lexists(request.mountpoint):
        raise errors.NoMountPoint(
            f"{request.mountpoint} does not exist; create it: mkdir -p {request.mountpoint}"
        )


def is_directory(request: PreflightRequest) -> None:
    if not Path(request.mountpoint).is_dir():
        raise errors.NotADirectory(f"{request.mountpoint} is not a directory")


def is_permitted(request: PreflightRequest) -> None:
    """fusermount3's rule for plain users: write permission, and in a sticky directory owning it.

    The owner may lack it: an earlier mount has taken it away, and this one gives it back (guard).
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


def has_fuse(request: PreflightRequest) -> None:
    """Opening tells more than the mode does: in a container the device may be forbidden."""
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


def may_mount(request: PreflightRequest) -> None:
    """A process whose bounding set has no CAP_SYS_ADMIN cannot get it by fusermount3 either."""
    with contextlib.suppress(OSError):
        found = re.search(r"^CapBnd:\s*([0-9a-f]+)$", STATUS.read_text(), re.MULTILINE)
        if found and not int(found[1], 16) >> CAP_SYS_ADMIN & 1:
            raise errors.NoFusermount(
                f"nobody may mount here, as in most containers: {_IN_CONTAINERS}"
            )


def has_fusermount(request: PreflightRequest) -> None:
    if not request.is_root and shutil.which("fusermount3") is None:
        raise errors.NoFusermount(
            "fusermount3 is missing, and only root can mount without it; install fuse3"
        )


def may_allow_others(request: PreflightRequest) -> None:
    wanted = [n for n in ("allow_other", "allow_root") if getattr(request.options, n)]
    if request.is_root or not wanted or allows_others():
        return
    raise errors.NoFusermount(
        f"option {wanted[0]} is root's, unless user_allow_other is set in {FUSE_CONF}"
    )


def allows_others() -> bool:
    """Whether fuse.conf lets plain users use allow_other."""
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


def check(request: PreflightRequest) -> None:
    """Raises the MountctlError of the first check that does not hold."""
    for holds in CHECKS:
        holds(request)
