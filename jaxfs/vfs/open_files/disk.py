"""Files that are served from the state directory."""

from __future__ import annotations

import os
from pathlib import Path

from jaxfs.errors import RunFailed
from jaxfs.posix.durable_files import open_regular
from jaxfs.vfs.open_files.base import OpenFile


def size_of(path: Path) -> int:
    """Returns a file's size in bytes, 0 if it does not exist.

    >>> size_of(Path("/proc/none"))
    0
    """
    try:
        return path.stat().st_size
    except OSError:
        return 0


class DiskFile(OpenFile):
    """A file of the state directory.  Its content stays while the file is replaced."""

    descriptors = 1

    def __init__(self, path: Path | None) -> None:
        """Opens the file; None reads as an empty one.

        Raises:
            RunFailed: The file is not there any more.
        """
        try:
            self._fd = open_regular(path) if path else -1
        except OSError as error:
            raise RunFailed(f"the state directory has lost {path}: {error}") from error

    async def read(self, offset: int, size: int) -> bytes:
        """Returns bytes of the file."""
        return os.pread(self._fd, size, offset) if self._fd >= 0 else b""

    def release(self) -> None:
        """Closes the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
