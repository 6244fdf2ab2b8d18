"""The table of open files: by file handle, and the readers and writers of each inode."""

from __future__ import annotations

import itertools
import os
from collections import defaultdict

from jaxfs.errors import OverQuota
from jaxfs.posix.credentials import Credentials
from jaxfs.quotas import DESCRIPTORS, MEMORY, OPEN_FILES, Charge, Quotas
from jaxfs.vfs.open_files.base import OpenFile

ENTRIES_PER_FILE = 7  # so many names of an open directory take the memory of an open file
ALWAYS_ALLOWED = 16  # open files of a user, at whatever limit: to read why it is refused


class OpenFileTable:
    """All open files of a mount, charged to those who opened them.

    Attributes:
        by_handle: The open files, by the file handles that the kernel knows them by.
    """

    def __init__(self, quotas: Quotas) -> None:
        self._quotas = quotas
        self.by_handle: dict[int, OpenFile] = {}
        self._writers: dict[int, list[OpenFile]] = defaultdict(list)  # by inode
        self._readers: dict[int, list[OpenFile]] = defaultdict(list)  # of content that is fixed
        self._handles = itertools.count(1)

    def reserve(self, caller: Credentials) -> None:
        """Charges a file that will be opened; ``add`` or ``cancel`` follows.

        Raises:
            OverQuota: The user has too many open files.
        """
        few = self._quotas.used(caller.uid, OPEN_FILES) < ALWAYS_ALLOWED
        self._quotas.add(caller.uid, OPEN_FILES, 1, force=few)

    def charge_listing(self, caller: Credentials, entries: int) -> Charge:
        """Charges an open directory, by the number of its entries.

        Raises:
            OverQuota: The user has too many open files.
        """
        few = self._quotas.used(caller.uid, OPEN_FILES) < ALWAYS_ALLOWED
        return self._quotas.charge(
            caller.uid, OPEN_FILES, 1 + entries // ENTRIES_PER_FILE, force=few
        )

    def cancel(self, caller: Credentials) -> None:
        """Ends the charge of a file that could not be opened."""
        self._quotas.add(caller.uid, OPEN_FILES, -1)

    def add(self, file: OpenFile, ino: int, path: str, flags: int, caller: Credentials) -> int:
        """Adds an open file that was reserved, and returns its file handle.

        Raises:
            OverQuota: The user has too much memory, or too many descriptors of the daemon; the
                file is released.
        """
        force = self._quotas.used(caller.uid, OPEN_FILES) <= ALWAYS_ALLOWED
        try:
            self._quotas.add(caller.uid, MEMORY, file.held_bytes, force=force)
            try:
                self._quotas.add(caller.uid, DESCRIPTORS, file.descriptors)
            except OverQuota:
                self._quotas.add(caller.uid, MEMORY, -file.held_bytes)
                raise
        except OverQuota:
            file.release()
            self.cancel(caller)
            raise
        fh = next(self._handles)
        file.path, file.caller, file.ino = path, caller, ino
        self.by_handle[fh] = file
        if flags & os.O_ACCMODE != os.O_RDONLY:
            self._writers[ino].append(file)
        elif not file.direct_io:
            self._readers[ino].append(file)
        return fh

    def writers(self, ino: int) -> list[OpenFile]:
        """Returns the open files that write a file."""
        return list(self._writers.get(ino, ()))

    def release(self, fh: int) -> OpenFile:
        """Removes an open file, frees what it holds, and returns it."""
        file = self.by_handle.pop(fh)
        self.cancel(file.caller)
        self._quotas.add(file.caller.uid, DESCRIPTORS, -file.descriptors)
        self._quotas.add(file.caller.uid, MEMORY, -file.held_bytes)
        for opened in (self._writers, self._readers):
            others = opened.get(file.ino, [])
            if file in others:
                others.remove(file)
                if not others:
                    del opened[file.ino]
        file.release()
        return file

    def size_of(self, ino: int) -> int | None:
        """Returns the size that open files decide; None if the node itself does.

        A reader needs the size that it was opened with, to read to the end.  Otherwise the size of
        what is being written counts, of the last writer that has one.
        """
        readers = self._readers.get(ino)
        if readers:
            return readers[0].fixed_size()
        writers = self._writers.get(ino)
        if not writers:  # a listing asks for thousands of names
            return None
        pending = (writer.pending_size() for writer in reversed(writers))
        return next((size for size in pending if size is not None), None)

    def keep_mtime(self, ino: int, mtime_ns: int) -> None:
        """Makes the commits of all writers keep a modification time.

        `cp -p` sets the time before it closes the file.
        """
        for writer in self._writers.get(ino, ()):
            writer.mtime_ns = mtime_ns
