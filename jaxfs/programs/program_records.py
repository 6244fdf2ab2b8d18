"""Programs as records of the state directory, and back."""

from __future__ import annotations

from jaxfs.posix.credentials import InodeAttr
from jaxfs.programs.program import SourceProgram
from jaxfs.programs.store import ProgramRecord, Store


def remember(store: Store, program: SourceProgram) -> None:
    """Writes the program's record, unless it was removed or never was more than a bad source.

    Raises:
        NoSpace: The disk of the state directory is full.
        RunFailed: The state directory cannot be written.
    """
    if outlives(program):
        store.put_record(record_of(program))
        program.is_recorded = True


def outlives(program: SourceProgram) -> bool:
    """Whether a program outlives the daemon.

    One that has a record does, whatever has become of its version: its device may come back, or
    another version of jax compile it.  A new one does unless its source is bad.
    """
    if program.removed or not program.source_sha256:
        return False
    is_bad = program.current is None and program.error is not None and program.error.is_verdict
    return program.is_recorded or not is_bad


def record_of(program: SourceProgram) -> ProgramRecord:
    """Returns the record of a program as it is now."""
    return ProgramRecord(
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
        transformed=[list(steps) for steps in program.transformed] + program.kept_transformed,
        specializations=[list(map(str, types)) for types in program.specializations]
        + program.kept_specializations,
        bindings=program.bindings(),
        pending_sha256=program.pending_sha256,
    )


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
        is_recorded=True,
        pending_sha256=record.pending_sha256,
        kept_bindings=list(record.bindings),
        kept_transformed=list(record.transformed),
        kept_specializations=list(record.specializations),
    )
