"""The directory under the mount, kept empty while nothing is mounted on it.

``cp p.mlir /jax/programs`` on a jaxfs that is not mounted would make a file there, which the next
mount hides.  So a mount leaves the directory below it guarded, and it stays so after a crash, a
reboot or an umount: ``mode`` takes the write permissions away, which root passes; ``immutable`` is
chattr(1)'s +i, for root and against root; ``umount --unguard`` undoes either.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from mountctl.errors import NotPermitted

RECORD_NAME = "mountpoint_mode"  # in the state directory: the mode before the first guard
WRITE = 0o222
FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_IMMUTABLE_FL = 0x80086601, 0x40086602, 0x10  # linux/fs.h


def _flags(fd: int) -> int:
    """Raises OSError where the filesystem has none."""
    flags = array.array("l", [0])
    fcntl.ioctl(fd, FS_IOC_GETFLAGS, flags)
    return flags[0]


def _set_immutable(fd: int, wanted: bool) -> None:
    flags = _flags(fd)
    changed = flags | FS_IMMUTABLE_FL if wanted else flags & ~FS_IMMUTABLE_FL
    if changed != flags:
        fcntl.ioctl(fd, FS_IOC_SETFLAGS, array.array("l", [changed]))


@attrs.frozen
class UnderlyingDirectory:
    """The directory itself, whatever is mounted on it later."""

    fd: int
    state_dir: Path

    @property
    def mode(self) -> int:
        return stat.S_IMODE(os.fstat(self.fd).st_mode)

    def guard(self, how: str) -> None:
        """Raises NotPermitted where ``immutable`` cannot be had."""
        if how == "none":
            return
        record = self.state_dir / RECORD_NAME
        if self.mode & WRITE or not record.exists():
            record.write_text(f"{self.mode:04o}\n")
        with contextlib.suppress(OSError):  # not ours, or immutable already
            os.fchmod(self.fd, self.mode & ~WRITE)
        if how == "immutable":
            self._make_immutable()

    def _make_immutable(self) -> None:
        try:
            _set_immutable(self.fd, True)
        except OSError as error:
            raise NotPermitted(
                f"guard=immutable cannot be had here: {error.strerror}; use guard=mode"
            ) from None

    def allow_owner_writes(self) -> None:
        """Give its owner write permission, which fusermount3 asks of plain users."""
        is_ours = os.fstat(self.fd).st_uid == os.geteuid()
        if is_ours and os.geteuid() and not self.mode & stat.S_IWUSR:
            os.fchmod(self.fd, self.mode | stat.S_IWUSR)

    def unguard(self) -> None:
        """As it was before the first mount."""
        with contextlib.suppress(OSError):
            _set_immutable(self.fd, False)
        try:
            mode = int((self.state_dir / RECORD_NAME).read_text(), 8) & 0o7777
        except (OSError, ValueError):
            mode = self.mode | stat.S_IWUSR
        with contextlib.suppress(OSError):
            os.fchmod(self.fd, mode)


@contextmanager
def open_underlying(mountpoint: str, state_dir: Path) -> Iterator[UnderlyingDirectory]:
    """To be entered before the mount; where the context fails, the mode is as it was."""
    fd = os.open(mountpoint, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        ground = UnderlyingDirectory(fd, state_dir)
        mode = ground.mode
        try:
            yield ground
        except BaseException:
            if ground.mode != mode:
                os.fchmod(fd, mode)
            raise
    finally:
        os.close(fd)
