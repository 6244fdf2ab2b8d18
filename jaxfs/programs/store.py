"""The state directory: what outlives the daemon.

    ==============================  ===================================  ====================
    file                            content                              lost with it
    ==============================  ===================================  ====================
    lock                            flock(2) of the daemon that uses it;
                                    it locks the directory too
    programs/<name>.json            `ProgramRecord`                      the program
    links/<name>.json               `LinkRecord`                         the link
    staging/<sha256 of name>.json   `StagedRecord`                       the staging file
    sources/<sha256>                a source or staging file, as it is   its programs
    artifacts/<key>/artifact        StableHLO portable artifact          time: traced again
    artifacts/<key>/stablehlo.mlir  the same as text
    artifacts/<key>/info.json       `Traced`, or `UntypedProgram` alone
    artifacts/<key>/graph-1.svg     the picture, once it was asked for   time: drawn again
    executables/<key>/executable    serialized executable                time: compiled again
    executables/<key>/hlo.txt       optimized HLO
    executables/<key>/info.json     `Compiled`
    arrays/                         named arrays, with -o keep_arrays    the arrays
    ==============================  ===================================  ====================

Every file is written beside its place, synchronized and renamed, so that a crash, a power cut or a
full disk leaves whole entries or none.  Every file has a checksum that is compared when it is read:
the name of a source, the field ``checksum`` of a record, and ``files`` in the ``info.json`` of an
entry.  What is damaged is made again from what it was made from; a record that is damaged is left
out.  Files of versions before the checksums are taken as they are, once.

The layout and the records are an interface to later versions of jaxfs: a record
may get a field with a default, a field may not change or go.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec
import trio

from jaxfs.errors import Busy, JaxfsError, RunFailed, from_os_error
from jaxfs.posix import durable_files
from jaxfs.programs.cache_entries import CacheEntry
from jaxfs.programs.record_writer import OffLoop, RecordWriter
from jaxfs.programs.seals import Damaged, is_sealed, seal
from jaxfs.programs.state_folders import MAX_RECORD_BYTES, lock, prepare_folder
from jaxfs.programs.stored_records import LinkRecord, ProgramRecord, StagedRecord

RECORDS = ("programs", "links", "staging")
FOLDERS = (*RECORDS, "sources", "artifacts", "executables")
UNREADABLE = (OSError, Damaged, msgspec.MsgspecError, UnicodeDecodeError)
Info = TypeVar("Info")
log = logging.getLogger(__name__)


_Record = TypeVar("_Record", ProgramRecord, LinkRecord, StagedRecord)


def sha256(data: bytes | memoryview) -> str:
    """Returns the content hash that all of jaxfs uses, in hexadecimal digits.

    >>> sha256(b"")[:16]
    'e3b0c44298fc1c14'
    """
    return hashlib.sha256(data).hexdigest()


class Store:
    """Reads and writes a state directory.

    Attributes:
        root: the directory; made if it is missing.
        damaged_records: how many records could not be read since the start.
        off_loop: calls functions that wait for the disk; those of this class that are said to.
        unsealed: entries without checksums that were read; `seal_entry` gives them some.

    Raises:
        Busy: another daemon uses the directory.
        RunFailed: the directory cannot be used.
    """

    def __init__(self, root: Path, off_loop: OffLoop = trio.to_thread.run_sync) -> None:
        self.root = root
        self.off_loop = off_loop
        self.damaged_records = 0
        self.unsealed: list[CacheEntry] = []
        self._writer = RecordWriter()
        with self._writing():
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._locks = lock(root)
        if not self._locks:
            raise Busy(
                f"state directory {root} is used by another jaxfs daemon; give this one --state-dir"
            ) from None
        with self._writing():
            for name in FOLDERS:
                prepare_folder(root / name, finish=name in RECORDS)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise from_os_error(error, f"writing to the state directory {self.root}") from error

    def close(self) -> None:
        """Waits until all records are on disk, and unlocks the directory."""
        self._writer.close()
        for fd in self._locks:
            os.close(fd)

    def records(self) -> list[ProgramRecord]:
        """Returns the records of all programs.

        Returns:
            Those that can be read, in the order of their names; the files of others stay, and a
            line of the log names each.
        """
        return self._read_all("programs", ProgramRecord)

    def _read_all(self, directory: str, kind: type[_Record]) -> list[_Record]:
        found = []
        self._writer.settle()
        for path in sorted((self.root / directory).glob("[!.]*.json")):
            try:
                found.append(self._read_record(path, kind))
            except UNREADABLE as error:
                self.skip(path, str(error))
        return found

    def _read_record(self, path: Path, kind: type[_Record]) -> _Record:
        """Returns the record in a file, and gives it a checksum if it has none.

        Raises:
            OSError, Damaged, msgspec.MsgspecError, UnicodeDecodeError: It cannot be used.
        """
        data = durable_files.read_regular(path, MAX_RECORD_BYTES)
        sealed = is_sealed(self._name_of(path), data)
        record = msgspec.json.decode(data, type=kind)
        if path != self.record_path(path.parent.name, record.name):
            raise Damaged(f"it is the record of {record.name!r}")
        if not sealed:
            with contextlib.suppress(JaxfsError):  # a full disk: next time
                self._put_sealed(path, data)
        return record

    def skip(self, path: Path, reason: str) -> None:
        """Notes that a record cannot be used: it stays as it is until its name is written again."""
        self.damaged_records += 1
        log.warning(
            "%s is damaged and is left out: %s; write what it names again, or remove the file",
            path,
            " ".join(reason.split()),
        )

    def record_path(self, folder: str, name: str) -> Path:
        """Returns the file of a record in one of the folders ``RECORDS``, there or not.

        The names of staging files have characters that those of records have not.
        """
        stem = sha256(name.encode()) if folder == "staging" else name
        return self.root / folder / f"{stem}.json"

    def _name_of(self, path: Path) -> str:
        return str(path.relative_to(self.root))

    def _put_sealed(self, path: Path, document: bytes) -> None:
        with self._writing():
            self._writer.put(path, seal(self._name_of(path), document))

    def _drop(self, path: Path) -> None:
        try:
            self._writer.drop(path)
        except IsADirectoryError:
            durable_files.clear_place(path)

    def put_record(self, record: ProgramRecord) -> None:
        """Writes the record of a program, instead of an older one.

        Raises:
            NoSpace: The disk of the directory is full.
            RunFailed: The directory cannot be written.
        """
        self._put_sealed(self.record_path("programs", record.name), msgspec.json.encode(record))

    def drop_record(self, name: str) -> None:
        """Removes the record of a program.

        Artifacts and executables stay, found by content: the same source needs no second compile.
        """
        self._drop(self.record_path("programs", name))

    def links(self) -> list[LinkRecord]:
        """Returns the records of all symbolic links; as `records`."""
        return self._read_all("links", LinkRecord)

    def put_link(self, record: LinkRecord) -> None:
        """Writes the record of a link; raises as `put_record`."""
        self._put_sealed(self.record_path("links", record.name), msgspec.json.encode(record))

    def drop_link(self, name: str) -> None:
        """Removes the record of a link."""
        self._drop(self.record_path("links", name))

    def staged(self) -> list[StagedRecord]:
        """Returns the records of all staging files; as `records`."""
        return self._read_all("staging", StagedRecord)

    def put_staged(self, record: StagedRecord) -> None:
        """Writes the record of a staging file; raises as `put_record`."""
        self._put_sealed(self.record_path("staging", record.name), msgspec.json.encode(record))

    def drop_staged(self, name: str) -> None:
        """Removes the record of a staging file."""
        self._drop(self.record_path("staging", name))

    def put_source(self, data: bytes | memoryview) -> str:
        """Writes a source unless it is there, undamaged.

        Returns:
            Its hash, which is the key of ``source_path``.

        Raises:
            NoSpace: The disk of the directory is full.
            RunFailed: The directory cannot be written.
        """
        key = sha256(data)
        if not self.has_source(key):
            with self._writing():
                durable_files.write_durably(self.source_path(key), [data])
        return key

    def source_path(self, key: str) -> Path:
        """Returns the file of a source by its hash, whether it is there or not."""
        return self.root / "sources" / key

    def has_source(self, key: str) -> bool:
        """Returns whether a source is there, as it was written."""
        try:
            return durable_files.sha256_of(self.source_path(key)) == key
        except OSError:
            return False

    def check_source(self, key: str, program: str) -> None:
        """Checks that a source is as it was written.

        Args:
            key: Its hash.
            program: The name of the program's file, for the reason.

        Raises:
            RunFailed: It is not, or is gone.
        """
        if not self.has_source(key):
            path = self.source_path(key)
            state = "damaged" if os.path.lexists(path) else "gone"
            name = f"programs/{program}"
            raise RunFailed(f"{name}: its source is {state} ({path}); write {name} again")

    def is_source(self, path: Path) -> bool:
        """Whether a path is one of ``source_path``."""
        return path.parent == self.root / "sources"

    def cache_directories(self) -> tuple[Path, Path]:
        """Returns the directories whose entries can be made again from sources."""
        return self.root / "artifacts", self.root / "executables"

    def drop_unused_sources(self, used: set[str]) -> None:
        """Removes the sources that no program uses.

        All stay where a record could not be read: it may have used one of them.

        Args:
            used: The hashes of the sources that stay.
        """
        if self.damaged_records:
            return
        for path in (self.root / "sources").iterdir():
            if path.name not in used:
                durable_files.remove_left_over(path)

    def entry(self, kind: str, key: str) -> Path:
        """Returns the directory of an artifact or executable, whether it is there or not.

        Args:
            kind: ``artifacts`` or ``executables``.
            key: The hash that names the entry.
        """
        return self.root / kind / key

    def info(self, kind: str, key: str, of: type[Info]) -> Info | None:
        """Returns the description of an entry.

        Args:
            kind: ``artifacts`` or ``executables``.
            key: The hash that names the entry.
            of: The record to read.

        Returns:
            The record; None if there is no such entry, or its description cannot be used.
        """
        entry = CacheEntry(self.entry(kind, key))
        try:
            info, checksums = entry.read_info(of)
        except FileNotFoundError:
            return None
        except UNREADABLE as error:
            log.warning("%s is damaged and is made again: %s", entry.path, error)
            return None
        if checksums.files is None:
            self.unsealed.append(entry)
        return info

    def adopt(self, kind: str, old_key: str, new_key: str) -> None:
        """Gives an entry of an earlier version, if it is there, the name it has now."""
        old, new = self.entry(kind, old_key), self.entry(kind, new_key)
        with contextlib.suppress(OSError):
            if old.is_dir() and not old.is_symlink() and not os.path.lexists(new):
                old.rename(new)

    def put_entry(
        self, kind: str, key: str, info: msgspec.Struct, files: Mapping[str, bytes]
    ) -> None:
        """Writes an artifact or executable with its files, whole or not at all.

        It waits for the disk, so the event loop calls it in a thread.

        Raises:
            NoSpace: The disk of the directory is full.
            RunFailed: The directory cannot be written.
        """
        with self._writing():
            CacheEntry(self.entry(kind, key)).write(info, files)

    def add_file(self, path: Path, data: bytes) -> None:
        """Adds a file to an entry, whole or not at all; it waits for the disk.

        Raises:
            NoSpace: The disk of the directory is full.
            RunFailed: The directory cannot be written, or has lost the entry.
        """
        try:
            with self._writing():
                CacheEntry(path.parent).add_file(path.name, data)
        except (Damaged, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise RunFailed(f"{path.parent} is damaged: {error}") from error

    def drop_entry(self, path: Path) -> None:
        """Removes an entry; programs that need it make it again.

        Raises:
            RunFailed: The directory cannot be written.
        """
        with self._writing():
            durable_files.clear_place(path)
