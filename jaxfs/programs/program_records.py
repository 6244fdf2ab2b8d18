"""Programs and links as records of the state directory, and back.

A record that no version of jaxfs can have written is refused, with what is wrong with it.
"""

from __future__ import annotations

import os
import re

from jaxfs.errors import Invalid
from jaxfs.posix.credentials import InodeAttr
from jaxfs.programs import names
from jaxfs.programs.program import SourceProgram
from jaxfs.programs.store import Store
from jaxfs.programs.stored_records import LinkRecord, ProgramRecord, StagedRecord

MAX_ID = 2**32 - 2  # of a user or group; the last number means "no change" to chown(2)
MAX_TIME_NS = 2**62
ALL_BITS = 0o777
MAX_TARGET_BYTES = 4095  # of a symbolic link, as Linux has it
_SHA256 = re.compile(r"[0-9a-f]{64}\Z", re.ASCII)
_DEVICE = re.compile(r"(?:[a-z0-9_]+:[0-9]{1,9})?\Z", re.ASCII)


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


def check_program(record: ProgramRecord) -> None:
    """Checks that a program can be made from a record.

    Raises:
        Invalid, NameTooLong: It cannot; the reason has the field.
    """
    _check_name(record.name)
    if record.extension not in names.EXTENSIONS:
        raise Invalid(f"{record.extension[:100]!r} is no extension of a program")
    check_attributes(record.uid, record.gid, record.mode, record.mtime_ns)
    for name, mode in record.modes.items():
        if not 0 <= mode <= ALL_BITS:
            raise Invalid(f"the mode of {name[:100]!r} is {mode}")
    _check_hash(record.sha256)
    if record.pending_sha256:
        _check_hash(record.pending_sha256)
    if not _DEVICE.match(record.device):
        raise Invalid(f"{record.device[:100]!r} is no device")


def check_link(record: LinkRecord) -> None:
    """Checks that a link can be made from a record.

    Raises:
        Invalid, NameTooLong: It cannot; the reason has the field.
    """
    _check_name(record.name)
    check_attributes(record.uid, record.gid)
    check_target(record.target)


def check_staged(record: StagedRecord) -> None:
    """Checks that a staging file can be made from a record.

    Raises:
        Invalid, NameTooLong: It cannot; the reason has the field.
    """
    if not names.is_staging(names.check(record.name)):
        raise Invalid(f"{record.name!r} is no name of a staging file")
    check_attributes(record.uid, record.gid, record.mode, record.mtime_ns)
    if record.sha256:
        _check_hash(record.sha256)


def _check_name(name: str) -> None:
    """Checks the name of a program or link; earlier versions took some that end like a source."""
    if names.check(name).startswith(".") or name in names.RESERVED:
        raise Invalid(f"{name!r} is no name of a program or link")


def _check_hash(digest: str) -> None:
    if not _SHA256.match(digest):
        raise Invalid(f"{digest[:100]!r} is no SHA-256")


def check_target(target: str) -> None:
    """Checks that a symbolic link can have a target.

    Raises:
        Invalid: It cannot.
    """
    if not 0 < len(os.fsencode(target)) <= MAX_TARGET_BYTES or "\0" in target:
        raise Invalid(f"{target[:100]!r} is no target of a link")


def check_attributes(uid: int, gid: int, mode: int = 0, mtime_ns: int = 0) -> None:
    """Checks that the kernel can be shown a file with these attributes.

    Raises:
        Invalid: One of them is out of its range.
    """
    for field, number, least, most in (
        ("uid", uid, 0, MAX_ID),
        ("gid", gid, 0, MAX_ID),
        ("mode", mode, 0, ALL_BITS),
        ("mtime_ns", mtime_ns, -MAX_TIME_NS, MAX_TIME_NS),
    ):
        if not least <= number <= most:
            raise Invalid(f"its {field} is {number}")
