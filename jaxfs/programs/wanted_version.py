"""What a build is to make of a source program."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import msgspec

from jaxfs.posix.credentials import InodeAttr, now_ns
from jaxfs.programs.build_key import BuildKey
from jaxfs.programs.program import SourceProgram
from jaxfs.programs.program_records import record_of
from jaxfs.programs.program_versions import BuildTarget
from jaxfs.programs.stored_records import ProgramRecord


@attrs.frozen
class WantedVersion:
    """What a build is to make of a source program.

    Attributes:
        sha256: hash of the source, which is in the state directory.
        nbytes: size of the source.
        device: the name of the device; empty: the first one.
        options: arguments of ``jax.jit`` for a pickled function.
        owner: owner, mode and times that come with the source; None: those of the program.
        is_written: whether a user wrote the source: its time of modification changes even if its
            content does not, because make(1) compares times.
    """

    sha256: str
    nbytes: int
    device: str
    options: Mapping[str, str]
    owner: InodeAttr | None = None
    is_written: bool = False

    @classmethod
    def again(cls, program: SourceProgram) -> WantedVersion:
        """Returns what the program is now."""
        return cls(program.source_sha256, program.source_bytes, program.device, program.options)

    @property
    def uid(self) -> int | None:
        """The user that brings the source; None: the program's owner."""
        return self.owner.uid if self.owner is not None else None

    @property
    def target(self) -> BuildTarget:
        """What decides whether two builds are the same."""
        return BuildTarget(BuildKey(self.sha256, tuple(sorted(self.options.items()))), self.device)

    def attr_for(self, program: SourceProgram) -> InodeAttr:
        """Returns owner, mode and times of the program with this version."""
        if self.owner is not None:
            return self.owner
        if not self.is_written and self.sha256 == program.source_sha256:
            return program.attr
        changed_ns = now_ns()
        return attrs.evolve(program.attr, mtime_ns=changed_ns, ctime_ns=changed_ns)

    def pending_after(self, program: SourceProgram) -> str:
        """Returns the source that still waits for a verdict when this version is installed."""
        is_again = self.sha256 == program.source_sha256 and not self.is_written
        return program.pending_sha256 if is_again else ""

    def record_for(self, program: SourceProgram, attr: InodeAttr) -> ProgramRecord:
        """Returns the record of the program with this version, and these attributes."""
        is_again = self.sha256 == program.source_sha256
        return msgspec.structs.replace(
            record_of(program),
            sha256=self.sha256,
            uid=attr.uid,
            gid=attr.gid,
            mode=attr.mode,
            mtime_ns=attr.mtime_ns,
            device=self.device,
            options=dict(self.options),
            specializations=program.kept_specializations if is_again else [],
            pending_sha256=self.pending_after(program),
        )
