"""Programs as records of the state directory, and back."""

from __future__ import annotations

from jaxfs.posix.credentials import InodeAttr
from jaxfs.programs.program import SourceProgram
from jaxfs.programs.store import ProgramRecord, Store


def remember(store: Store, program: SourceProgram) -> None:
    """Writes the program's record, unless it has no version or was removed.

    Raises:
        NoSpace: The disk of the state directory is full.
        RunFailed: The state directory cannot be written.
    """
    if program.current is None or program.removed:
        return
    record = ProgramRecord(
        name=program.name,
        extension=program.extension,
        sha256=program.source_sha256,
        uid=program.attr.uid,
        gid=program.attr.gid,
        mode=program.attr.mode,
        mtime_ns=program.attr.mtime_ns,
        device=program.device,
        modes=program.modes,
        options=program.options,
        transformed=[list(steps) for steps in program.transformed],
        specializations=[list(map(str, types)) for types in program.specializations],
        bindings=program.bindings(),
    )
    store.put_record(record)


def program_of(record: ProgramRecord) -> SourceProgram:
    """Returns a program as it was remembered, without a version and derived programs."""
    return SourceProgram(
        name=record.name,
        extension=record.extension,
        owner=InodeAttr(record.uid, record.gid, record.mode, mtime_ns=record.mtime_ns),
        device=record.device,
        modes=dict(record.modes),
        options=dict(record.options),
        source_sha256=record.sha256,
        kept_bindings=list(record.bindings),
    )
