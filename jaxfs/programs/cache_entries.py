"""Entries of the state directory's caches: a directory with files and their checksums.

``info.json`` describes the entry, and has the SHA-256 of every other file in ``files``.  Entries of
versions before the seals have none: they are taken as they are, once, and sealed then.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs
import msgspec

from jaxfs.posix import durable_files
from jaxfs.programs.seals import Damaged, is_sealed, seal

INFO_NAME = "info.json"
MAX_INFO_BYTES = 64 << 20
Info = TypeVar("Info")


class FileChecksums(msgspec.Struct, frozen=True):
    """The part of ``info.json`` that all entries have.

    Attributes:
        files: the SHA-256 of the entry's other files by name; None in entries without a seal.
    """

    files: dict[str, str] | None = None


@attrs.frozen
class CacheEntry:
    """One artifact or executable on disk, whether it is there or not.

    Attributes:
        path: its directory; the last two parts of it are the entry's name.
    """

    path: Path

    @property
    def name(self) -> str:
        """The entry's place in the state directory: ``executables/<key>``."""
        return f"{self.path.parent.name}/{self.path.name}"

    def read_info(self, of: type[Info]) -> tuple[Info, FileChecksums]:
        """Returns the description and the checksums of the files.

        Raises:
            FileNotFoundError: There is no such entry.
            OSError: The description cannot be read.
            Damaged: Its checksum differs.
            msgspec.MsgspecError, UnicodeDecodeError: It is no such description.
        """
        if self.path.is_symlink():
            raise Damaged("it is a symbolic link")
        data = durable_files.read_regular(self.path / INFO_NAME, MAX_INFO_BYTES)
        sealed = is_sealed(self.name, data)
        info = msgspec.json.decode(data, type=of)
        checksums = msgspec.json.decode(data, type=FileChecksums) if sealed else FileChecksums()
        return info, checksums

    def checksum(self, file: str) -> str:
        """Returns the recorded SHA-256 of a file; empty where none is recorded."""
        try:
            _, checksums = self.read_info(dict[str, Any])
        except (OSError, Damaged, msgspec.MsgspecError, UnicodeDecodeError):
            return ""
        return (checksums.files or {}).get(file, "")

    def is_intact(self, file: str) -> bool:
        """Returns whether a file is there, and as it was written as far as that is recorded."""
        try:
            _, checksums = self.read_info(dict[str, Any])
            found = durable_files.sha256_of(self.path / file)
        except (OSError, Damaged, msgspec.MsgspecError, UnicodeDecodeError):
            return False
        return (checksums.files or {}).get(file, found) == found

    def write(self, info: msgspec.Struct, files: Mapping[str, bytes]) -> None:
        """Writes the entry with its files, whole or not at all, also if the power fails.

        Raises:
            OSError: The disk is full, or the directory cannot be written.
        """
        checksums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        description = _described(self.name, msgspec.json.encode(info), checksums)
        scratch = Path(tempfile.mkdtemp(prefix=durable_files.SCRATCH, dir=self.path.parent))
        try:
            for name, data in {**files, INFO_NAME: description}.items():
                durable_files.write_synced(scratch / name, [data])
            durable_files.sync(scratch)
            durable_files.put_in_place(scratch, self.path)
        finally:
            durable_files.remove_left_over(scratch)

    def add_file(self, file: str, data: bytes) -> None:
        """Adds a file, or replaces one, and records its checksum.

        Raises:
            OSError: The disk is full, or the directory cannot be written.
        """
        durable_files.write_durably(self.path / file, [data])
        self.seal({file: hashlib.sha256(data).hexdigest()})

    def seal(self, more: Mapping[str, str] | None = None) -> None:
        """Records the checksums of all files that have none yet.

        Args:
            more: Checksums that are known, by file.

        Raises:
            OSError, Damaged, msgspec.MsgspecError, UnicodeDecodeError: As `read_info`.
        """
        info, checksums = self.read_info(dict[str, msgspec.Raw])
        known = {**(checksums.files or {}), **(more or {})}
        others = {path.name for path in self.path.iterdir()} - known.keys() - {INFO_NAME}
        known |= {name: durable_files.sha256_of(self.path / name) for name in others}
        document = msgspec.json.encode(
            {key: value for key, value in info.items() if key not in ("files", "checksum")}
        )
        data = _described(self.name, document, known)
        durable_files.write_durably(self.path / INFO_NAME, [data])


def _described(name: str, document: bytes, checksums: Mapping[str, str]) -> bytes:
    """Returns a sealed description with the checksums of the files."""
    return seal(name, document[:-1] + b',"files":' + msgspec.json.encode(checksums) + b"}")
