"""Keeps the directory under a mount empty while nothing is mounted on it.

``cp p.mlir /jax/programs`` without a mount would make a file in the directory, which the next mount
hides.  So a mount guards the directory under it, and the guard stays after a crash, a reboot or an
umount.  ``mode`` takes the write permissions away, which root passes; ``immutable`` is chattr(1)'s
+i, which only root can set, and which holds root back too; ``umount --unguard`` undoes both.
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


def _set_immutable(fd: int, wanted: bool) -> None:
    """Sets or clears FS_IMMUTABLE_FL; raises OSError if the filesystem has no such flags."""
    flags = array.array("l", [0])
    fcntl.ioctl(fd, FS_IOC_GETFLAGS, flags)
    changed = flags[0] | FS_IMMUTABLE_FL if wanted else flags[0] & ~FS_IMMUTABLE_FL
    if changed != flags[0]:
        fcntl.ioctl(fd, FS_IOC_SETFLAGS, array.array("l", [changed]))


@attrs.frozen
class UnderlyingDirectory:
    """The directory itself, also after something is mounted on it.

    Attributes:
        fd: Opened before the mount.
        state_dir: Has the record of the mode before the first guard.
    """

    fd: int
    state_dir: Path

    @property
    def mode(self) -> int:
        """The permission bits now."""
        return stat.S_IMODE(os.fstat(self.fd).st_mode)

    def guard(self, how: str) -> None:
        """Applies a guard: ``mode``, ``immutable`` or ``none``.

        Raises:
            NotPermitted: if ``immutable`` is not possible.
        """
        if how == "none":
            return
        record = self.state_dir / RECORD_NAME
        if self.mode & WRITE or not record.exists():
            record.write_text(f"{self.mode:04o}\n")
        with contextlib.suppress(OSError):  # not ours, or immutable already
            os.fchmod(self.fd, self.mode & ~WRITE)
        if how == "immutable":
            try:
                _set_immutable(self.fd, True)
            except OSError as error:
                raise NotPermitted(
                    f"guard=immutable is not possible here: {error.strerror}; use guard=mode"
                ) from None

    def allow_owner_writes(self) -> None:
        """Gives the owner write permission, which fusermount3 requires of plain users."""
        is_ours = os.fstat(self.fd).st_uid == os.geteuid()
        if is_ours and os.geteuid() and not self.mode & stat.S_IWUSR:
            os.fchmod(self.fd, self.mode | stat.S_IWUSR)

    def unguard(self) -> None:
        """Restores what was before the first guard."""
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
    """Opens the directory; enter the context before the mount.

    If the context fails, the mode is restored.
    """
    fd = os.open(mountpoint, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        underlying = UnderlyingDirectory(fd, state_dir)
        mode = underlying.mode
        try:
            yield underlying
        except BaseException:
            if underlying.mode != mode:
                os.fchmod(fd, mode)
            raise
    finally:
        os.close(fd)
