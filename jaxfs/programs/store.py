"""The state directory: what outlives the daemon.

    lock                    held while a daemon uses the directory
    programs/<name>.json    a Record: which source, whose, on which device
    links/<name>.json       a LinkRecord
    sources/<sha256>        sources, byte for byte
    artifacts/<key>/        artifact, stablehlo.mlir, info.json
    executables/<key>/      executable, hlo.txt, info.json

Everything is written beside its place and renamed, so a crash or a full disk leaves whole entries
or none.  Losing the lower two costs time, never data.
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

LAYOUT_VERSION = 1
Info = TypeVar("Info")


class BindingRecord(msgspec.Struct, frozen=True):
    """A symbolic link in ``inputs/``: of the program itself, or of what ``steps`` make of it."""

    steps: list[str]
    key: str
    target: str


class ProgramRecord(msgspec.Struct, frozen=True):
    """One program, as it is remembered."""

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


class LinkRecord(msgspec.Struct, frozen=True):
    """One symbolic link, as it is remembered."""

    name: str
    target: str
    uid: int
    gid: int


def sha256(data: bytes | memoryview) -> str:
    """The content hash all of jaxfs uses."""
    return hashlib.sha256(data).hexdigest()


class Store:
    """Reads and writes a state directory.  Raises Busy where another daemon has it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("programs", "links", "sources", "artifacts", "executables"):
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
        """Let another daemon have it."""
        self._lock.close()

    def records(self) -> list[ProgramRecord]:
        """All programs; a record that cannot be read is left where it is and skipped."""
        return self._read_all("programs", ProgramRecord)

    def _read_all(self, place: str, kind: type[Info]) -> list[Info]:
        found = []
        for path in sorted((self.root / place).glob("*.json")):
            try:
                found.append(msgspec.json.decode(path.read_bytes(), type=kind))
            except (OSError, msgspec.MsgspecError):
                continue
        return found

    def put_record(self, record: ProgramRecord) -> None:
        """Remember a program.  Raises NoSpace, RunFailed."""
        path = self.root / "programs" / f"{record.name}.json"
        self._write(path, msgspec.json.encode(record))

    def drop_record(self, name: str) -> None:
        """Forget a program; its compiled forms stay, they are found by content."""
        (self.root / "programs" / f"{name}.json").unlink(missing_ok=True)

    def links(self) -> list[LinkRecord]:
        """All symbolic links; as ``records``."""
        return self._read_all("links", LinkRecord)

    def put_link(self, record: LinkRecord) -> None:
        """Remember a link.  Raises NoSpace, RunFailed."""
        self._write(self.root / "links" / f"{record.name}.json", msgspec.json.encode(record))

    def drop_link(self, name: str) -> None:
        """Forget a link."""
        (self.root / "links" / f"{name}.json").unlink(missing_ok=True)

    def put_source(self, data: bytes | memoryview) -> str:
        """Keep a source; returns its hash."""
        key = sha256(data)
        path = self.source_path(key)
        if not path.exists():
            self._write(path, data)
        return key

    def source_path(self, key: str) -> Path:
        return self.root / "sources" / key

    def drop_unused_sources(self, used: set[str]) -> None:
        """Remove sources no program has any more."""
        for path in (self.root / "sources").iterdir():
            if path.name not in used:
                path.unlink(missing_ok=True)

    def entry(self, kind: str, key: str) -> Path:
        """The directory of a cached artifact or executable."""
        return self.root / kind / key

    def info(self, kind: str, key: str, of: type[Info]) -> Info | None:
        """What is known of a cached entry; None where there is none, or an unreadable one."""
        try:
            return msgspec.json.decode((self.entry(kind, key) / "info.json").read_bytes(), type=of)
        except (OSError, msgspec.MsgspecError):
            return None

    def put_entry(self, kind: str, key: str, info: object, files: Mapping[str, bytes]) -> None:
        """Cache an artifact or executable with its files, whole or not at all."""
        target = self.entry(kind, key)
        try:
            scratch = Path(tempfile.mkdtemp(prefix=".new-", dir=target.parent))
        except OSError as error:
            raise from_os_error(error, f"writing to the state directory {self.root}") from error
        try:
            for name, data in {**files, "info.json": msgspec.json.encode(info)}.items():
                (scratch / name).write_bytes(data)
            shutil.rmtree(target, ignore_errors=True)  # an unreadable one of before
            scratch.rename(target)
        except OSError as error:
            raise from_os_error(error, f"writing to the state directory {self.root}") from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def put_file(self, path: Path, data: bytes) -> None:
        """Add a file to an entry, whole or not at all.  Raises NoSpace, RunFailed."""
        self._write(path, data)

    def _write(self, path: Path, data: bytes | memoryview) -> None:
        scratch = path.with_name(f".new-{os.getpid()}-{threading.get_native_id()}-{path.name}")
        try:
            scratch.write_bytes(data)
            scratch.replace(path)
        except OSError as error:
            scratch.unlink(missing_ok=True)
            raise from_os_error(error, f"writing to the state directory {self.root}") from error
