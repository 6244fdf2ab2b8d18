"""Writes records so that a power cut leaves whole ones, without making the event loop wait.

The loop writes the new record beside the old one, so that a full disk is noticed at once; a thread
waits for the disk and renames it.  If the daemon is killed between the two, the next start finds
the new record beside the old one, whole by its checksum, and puts it in its place.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar, TypeVarTuple

from jaxfs.posix import durable_files
from jaxfs.posix.durable_files import SCRATCH

log = logging.getLogger(__name__)
Arguments = TypeVarTuple("Arguments")
Returned = TypeVar("Returned")


class OffLoop(Protocol):
    """Calls a function that waits for the disk: ``trio.to_thread.run_sync``, inline in tests."""

    async def __call__(
        self, function: Callable[[*Arguments], Returned], /, *arguments: *Arguments
    ) -> Returned:
        """Returns what the function returns."""


class RecordWriter:
    """Replaces and removes files; what was asked for last holds."""

    def __init__(self) -> None:
        self._scratches: dict[Path, Path] = {}  # written and not in place yet, by the place
        self._lock = threading.Lock()
        self._places: queue.Queue[Path | None] = queue.Queue()
        self._thread: threading.Thread | None = None

    def put(self, path: Path, data: bytes) -> None:
        """Replaces a file.

        Raises:
            OSError: The disk is full, or the directory cannot be written; the old file stays.
        """
        scratch = durable_files.scratch_beside(path)
        try:
            scratch.write_bytes(data)
        except OSError:
            scratch.unlink(missing_ok=True)
            raise
        with self._lock:
            older = self._scratches.pop(path, None)
            self._scratches[path] = scratch
            if older is not None:
                older.unlink(missing_ok=True)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="records", daemon=True)
            self._thread.start()
        self._places.put(path)

    def drop(self, path: Path) -> None:
        """Removes a file, and a newer one that is not in its place yet.

        Raises:
            OSError: The directory cannot be written.
        """
        with self._lock:
            scratch = self._scratches.pop(path, None)
            if scratch is not None:
                scratch.unlink(missing_ok=True)
            path.unlink(missing_ok=True)

    def settle(self) -> None:
        """Waits until all files are in their places."""
        self._places.join()

    def close(self) -> None:
        """Waits until all files are in their places, and ends the thread."""
        if self._thread is not None:
            self._places.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while (path := self._places.get()) is not None:
            try:
                self._settle(path)
            except OSError as error:
                log.warning("%s may be lost if the power fails: %s", path, error)
            finally:
                self._places.task_done()

    def _settle(self, path: Path) -> None:
        scratch = self._scratches.get(path)
        if scratch is None:
            return  # settled with a newer one, or dropped
        try:
            durable_files.sync(scratch)
        except FileNotFoundError:
            return
        with self._lock:
            if self._scratches.get(path) is not scratch:
                return
            if path.is_dir() and not path.is_symlink():
                durable_files.clear_place(path)
            scratch.replace(path)
            del self._scratches[path]
        durable_files.sync(path.parent)


def place_of_scratch(scratch: Path) -> Path:
    """Returns where a file belongs that a killed daemon left beside its place.

    >>> place_of_scratch(Path("links/.new-17-000000003-a-b.json")).name
    'a-b.json'
    """
    return scratch.with_name(scratch.name.removeprefix(SCRATCH).split("-", 2)[-1])
