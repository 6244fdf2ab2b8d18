"""A staging file, and the compile that is begun when it is closed."""

from __future__ import annotations

import attrs
import trio

from jaxfs.errors import JaxfsError
from jaxfs.posix.credentials import SERIALS, InodeAttr
from jaxfs.posix.node_object import NodeMode, OwnedNodeObject
from jaxfs.programs.compiled import ProgramVersion
from jaxfs.programs.program import SourceProgram
from jaxfs.programs.program_versions import BuildTarget
from jaxfs.quotas import STAGING, Charge, Quotas


@attrs.define(eq=False)
class StagedBuild:
    """The compile of a staging file.

    Attributes:
        target: what is built, under the options and for the device that new programs have.
        uid: the user it is built for.
        outcome: the version or the error; None while it is under way.
        scope: ends it.
    """

    target: BuildTarget
    uid: int
    outcome: ProgramVersion | JaxfsError | None = None
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    @property
    def state(self) -> str:
        """Returns compiling or ready; of a failed compile, its error in a line."""
        if isinstance(self.outcome, JaxfsError):
            return f"{self.outcome.errno_name}: {self.outcome.reason}"
        return "compiling" if self.outcome is None else "ready"


@attrs.define(eq=False)
class StagedFile(OwnedNodeObject):
    """A file with a staging name: it is stored as it is until it is renamed.

    Attributes:
        name: in ``programs/``.
        attr: owner, mode and times.
        sha256: hash of its content in the state directory; empty if it is empty.
        nbytes: size of its content.
        build: the compile that was begun when it was closed; None if it looks like no program.
        place: what it costs its user, besides its content.
        program: the program that it has become by a rename; a writer may still have it open.
        serial: distinguishes node objects for as long as the daemon runs.
    """

    name: str
    attr: InodeAttr
    sha256: str = ""
    nbytes: int = 0
    build: StagedBuild | None = None
    place: Charge | None = None
    program: SourceProgram | None = None
    serial: int = attrs.field(factory=lambda: next(SERIALS))

    def charge(self, quotas: Quotas, *, force: bool = False) -> None:
        """Charges its user for the file; `DiskUsage` charges for its content.

        Args:
            quotas: Those of the mount.
            force: As of ``Quotas.charge``.

        Raises:
            OverQuota: The user would exceed a limit; nothing is charged.
        """
        self.place = quotas.charge(self.attr.uid, STAGING, 1, force=force)

    def drop(self, *, ends_build: bool) -> None:
        """Ends what it costs: its name is gone.

        Args:
            ends_build: Whether its compile ends too.
        """
        if self.place is not None:
            self.place.refund()
        self.place = None
        if ends_build and self.build is not None:
            self.build.scope.cancel()

    def mode_of(self, spec: NodeMode) -> int:
        """Returns its own mode: it is one file."""
        del spec
        return self.attr.mode

    def set_mode(self, spec: NodeMode, mode: int) -> None:
        """Changes its own mode."""
        self.attr.mode = mode & spec.mode
