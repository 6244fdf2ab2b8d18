"""The state directory: what outlives the daemon.

    ==============================  ===================================  ====================
    file                            content                              lost with it
    ==============================  ===================================  ====================
    lock                            flock(2) of the daemon that uses it
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

Every file is written beside its place and renamed, so that a crash or a full disk leaves whole
entries or none.  The layout and the records are an interface to later versions of jaxfs: a record
may get a field with a default, a field may not change or go.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from jaxfs.errors import Busy, from_os_error

Info = TypeVar("Info")


class BindingRecord(msgspec.Struct, frozen=True):
    """A symbolic link in ``inputs/``.

    Attributes:
        steps: the transformed program it belongs to; empty: the source program itself.
        key: the key path of the input.
        target: the path as symlink(2) had it.
    """

    steps: list[str]
    key: str
    target: str


class ProgramRecord(msgspec.Struct, frozen=True):
    """One program.

    Attributes:
        name: without the extension.
        extension: of the source's file, without the dot.
        sha256: of the source.
        uid: owner.
        gid: group.
        mode: permission bits of the source's file.
        mtime_ns: when the source was written.
        device: the name of its device; empty: the first one.
        modes: permissions of files in its directory that chmod set, by file name.
        options: arguments of ``jax.jit`` for a pickled function.
        transformed: the steps of transformed programs that were used.
        specializations: the input types, as text, of specializations that were used.
        bindings: symbolic links in ``inputs/``.
        pending_sha256: of a source that a rename put in its place and that no build has ended for.
    """

    name: str
    extension: str
    sha256: str
    uid: int
    gid: int
    mode: int
    mtime_ns: int
    device: str
    modes: dict[str, int] = {}
    options: dict[str, str] = {}
    transformed: list[list[str]] = []
    specializations: list[list[str]] = []
    bindings: list[BindingRecord] = []
    pending_sha256: str = ""


class LinkRecord(msgspec.Struct, frozen=True):
    """One symbolic link in ``programs/``.

    Attributes:
        name: in ``programs/``.
        target: the path as symlink(2) had it.
        uid: owner.
        gid: group.
    """

    name: str
    target: str
    uid: int
    gid: int


class StagedRecord(msgspec.Struct, frozen=True):
    """One staging file.

    Attributes:
        name: in ``programs/``.
        sha256: of its content; empty if it is empty.
        nbytes: its size.
        uid: owner.
        gid: group.
        mode: permission bits.
        mtime_ns: when it was written.
    """

    name: str
    sha256: str
    nbytes: int
    uid: int
    gid: int
    mode: int
    mtime_ns: int


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

    Raises:
        Busy: another daemon uses the directory.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("programs", "links", "staging", "sources", "artifacts", "executables"):
            (root / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = (root / "lock").open("a+")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise Busy(
                f"state directory {root} is used by another jaxfs daemon; give this one --state-dir"
            ) from None

    def close(self) -> None:
        """Unlocks the directory."""
        self._lock.close()

    def records(self) -> list[ProgramRecord]:
        """Returns the records of all programs.

        Returns:
            Those that can be read, in the order of their names; the files of others stay.
        """
        return self._read_all("programs", ProgramRecord)

    def _read_all(self, directory: str, kind: type[Info]) -> list[Info]:
        found = []
        for path in sorted((self.root / directory).glob("*.json")):
            try:
                found.append(msgspec.json.decode(path.read_bytes(), type=kind))
            except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
                continue
        return found

    def put_record(self, record: ProgramRecord) -> None:
        """Writes the record of a program, instead of an older one.

        Raises:
            NoSpace: The disk of the directory is full.
            RunFailed: The directory cannot be written.
        """
        path = self.root / "programs" / f"{record.name}.json"
        self.put_file(path, msgspec.json.encode(record))

    def drop_record(self, name: str) -> None:
        """Removes the record of a program.

        Artifacts and executables stay, found by content: the same source needs no second compile.
        """
        (self.root / "programs" / f"{name}.json").unlink(missing_ok=True)

    def links(self) -> list[LinkRecord]:
        """Returns the records of all symbolic links; as `records`."""
        return self._read_all("links", LinkRecord)

    def put_link(self, record: LinkRecord) -> None:
        """Writes the record of a link.

        Raises:
            NoSpace: The disk of the directory is full.
            RunFailed: The directory cannot be written.
        """
        self.put_file(self.root / "links" / f"{record.name}.json", msgspec.json.encode(record))

    def drop_link(self, name: str) -> None:
        """Removes the record of a link."""
        (self.root / "links" / f"{name}.json").unlink(missing_ok=True)

    def staged(self) -> list[StagedRecord]:
        """Returns the records of all staging files; as `records`."""
        return self._read_all("staging", StagedRecord)

    def put_staged(self, record: StagedRecord) -> None:
        """Writes the record of a staging file.

        Raises:
            NoSpace: The disk of the directory is full.
            RunFailed: The directory cannot be written.
        """
        self.put_file(self._staged_path(record.name), msgspec.json.encode(record))

    def drop_staged(self, name: str) -> None:
        """Removes the record of a staging file."""
        self._staged_path(name).unlink(missing_ok=True)

    def _staged_path(self, name: str) -> Path:
        return self.root / "staging" / f"{sha256(name.encode())}.json"

    def put_source(self, data: bytes | memoryview) -> str:
        """Writes a source unless it is there.

        Returns:
            Its hash, which is the key of ``source_path``.

        Raises:
            NoSpace: The disk of the directory is full.
            RunFailed: The directory cannot be written.
        """
        key = sha256(data)
        path = self.source_path(key)
        if not path.exists():
            self.put_file(path, data)
        return key

    def source_path(self, key: str) -> Path:
        """Returns the file of a source by its hash, whether it is there or not."""
        return self.root / "sources" / key

    def drop_unused_sources(self, used: set[str]) -> None:
        """Removes the sources that no program uses.

        Args:
            used: The hashes of the sources that stay.
        """
        for path in (self.root / "sources").iterdir():
            if path.name not in used:
                path.unlink(missing_ok=True)

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
            The record; None if there is no such entry, or its description is another record.
        """
        try:
            return msgspec.json.decode((self.entry(kind, key) / "info.json").read_bytes(), type=of)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return None

    def put_entry(
        self, kind: str, key: str, info: msgspec.Struct, files: Mapping[str, bytes]
    ) -> None:
        """Writes an artifact or executable with its files, whole or not at all.

        Raises:
            NoSpace: The disk of the directory is full.
            RunFailed: The directory cannot be written.
        """
        target = self.entry(kind, key)
        try:
            scratch = Path(tempfile.mkdtemp(prefix=".new-", dir=target.parent))
        except OSError as error:
            raise from_os_error(error, f"writing to the state directory {self.root}") from error
        try:
            for name, data in {**files, "info.json": msgspec.json.encode(info)}.items():
                (scratch / name).write_bytes(data)
            shutil.rmtree(target, ignore_errors=True)  # an older one that cannot be read
            scratch.rename(target)
        except OSError as error:
            raise from_os_error(error, f"writing to the state directory {self.root}") from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def put_file(self, path: Path, data: bytes | memoryview) -> None:
        """Writes a file of the directory, whole or not at all.

        Raises:
            NoSpace: The disk of the directory is full.
            RunFailed: The directory cannot be written.
        """
        scratch = path.with_name(f".new-{os.getpid()}-{threading.get_native_id()}-{path.name}")
        try:
            scratch.write_bytes(data)
            scratch.replace(path)
        except OSError as error:
            scratch.unlink(missing_ok=True)
            raise from_os_error(error, f"writing to the state directory {self.root}") from error
