"""The table of open files: handles, and what readers and writers mean for stat and utimes."""

from __future__ import annotations

import os

import pytest

from jaxfs.errors import OverQuota
from jaxfs.posix.credentials import Credentials
from jaxfs.quotas import OPEN_FILES, Quotas
from jaxfs.vfs.open_files.base import OpenFile
from jaxfs.vfs.open_files.control import SnapshotFile
from jaxfs.vfs.open_files.open_file_table import OpenFileTable

ALICE = Credentials(20001, 20001)
INO = 7


class Fixed(OpenFile):
    """Content that goes through the page cache."""

    direct_io = False
    is_released = False

    def __init__(self, size: int) -> None:
        self._size = size

    def fixed_size(self) -> int:
        return self._size

    def release(self) -> None:
        self.is_released = True


class Pending(OpenFile):
    """A file that is being written."""

    def __init__(self, size: int | None) -> None:
        self._size = size

    def pending_size(self) -> int | None:
        return self._size


def add(table: OpenFileTable, file: OpenFile, flags: int = os.O_RDONLY) -> int:
    return table.add(file, INO, "arrays/w", flags, ALICE)


def test_each_open_has_a_handle_of_its_own() -> None:
    table, file = OpenFileTable(Quotas({}, limit_bytes=0)), SnapshotFile(b"")
    first, second = add(table, file), add(table, SnapshotFile(b""))
    assert first != second
    assert table.by_handle[first] is file
    assert (file.ino, file.path, file.caller) == (INO, "arrays/w", ALICE)


def test_a_released_handle_is_unknown_and_its_file_is_freed() -> None:
    table, file = OpenFileTable(Quotas({}, limit_bytes=0)), Fixed(3)
    fh = add(table, file)
    table.release(fh)
    assert file.is_released
    with pytest.raises(KeyError):
        table.by_handle[fh]


def test_the_size_is_the_nodes_own_where_no_open_file_decides() -> None:
    table = OpenFileTable(Quotas({}, limit_bytes=0))
    assert table.size_of(INO) is None
    add(table, SnapshotFile(b"text"))
    add(table, Pending(None), os.O_WRONLY)
    assert table.size_of(INO) is None


def test_a_reader_keeps_the_size_it_was_opened_with() -> None:
    table = OpenFileTable(Quotas({}, limit_bytes=0))
    reader = add(table, Fixed(3))
    writer = add(table, Pending(5), os.O_WRONLY)
    assert table.size_of(INO) == 3
    table.release(reader)
    assert table.size_of(INO) == 5
    table.release(writer)
    assert table.size_of(INO) is None


def test_the_last_writer_with_a_size_counts() -> None:
    table = OpenFileTable(Quotas({}, limit_bytes=0))
    for size in (5, 9, None):
        add(table, Pending(size), os.O_RDWR)
    assert table.size_of(INO) == 9


def test_a_set_time_is_kept_by_writers_of_that_inode_only() -> None:
    table = OpenFileTable(Quotas({}, limit_bytes=0))
    writer, reader, other = Pending(1), Fixed(1), Pending(1)
    add(table, writer, os.O_WRONLY)
    add(table, reader)
    table.add(other, INO + 1, "arrays/v", os.O_WRONLY, ALICE)
    table.keep_mtime(INO, 42)
    assert (writer.mtime_ns, reader.mtime_ns, other.mtime_ns) == (42, None, None)


def test_open_directories_are_charged_by_their_names() -> None:
    quotas = Quotas({OPEN_FILES: 100}, limit_bytes=0)
    table = OpenFileTable(quotas)
    large = table.charge_listing(ALICE, 10_000)  # the first one is always allowed
    with pytest.raises(OverQuota, match="max_open_files_per_user"):
        table.charge_listing(ALICE, 10)
    large.refund()
    for _ in range(50):
        table.charge_listing(ALICE, 10).refund()
    assert quotas.used(ALICE.uid, OPEN_FILES) == 0
