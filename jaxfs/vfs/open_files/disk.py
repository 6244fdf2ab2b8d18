"""Files that are served from the state directory."""

from __future__ import annotations

import os
from pathlib import Path

from jaxfs.errors import RunFailed
from jaxfs.vfs.open_files.base import Handle


def size_of(path: Path) -> int:
    """Bytes; 0 where there is no such file."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


class DiskFile(Handle):
    """One open file of the state directory; stays as it was opened when the entry is replaced."""

    def __init__(self, path: Path | None) -> None:
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC) if path else -1
        except OSError as error:
            raise RunFailed(f"the state directory has lost {path}: {error}") from error

    async def read(self, offset: int, size: int) -> bytes:
        return os.pread(self._fd, size, offset) if self._fd >= 0 else b""

    def release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
