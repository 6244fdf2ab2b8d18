"""A program as its users see it: something whose versions replace one another.

A `SourceProgram` has its source in a file of ``programs/``.  A `DerivedProgram` is made from
another program: transformed, as ``transformations/grad/loss`` is, or specialized for input types.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Protocol
from weakref import WeakValueDictionary

import attrs

from jaxfs.errors import BrokenProgram, Invalid, JaxfsError, NotSupported, recorded
from jaxfs.posix.credentials import SERIALS, InodeAttr, allowed_to_readers
from jaxfs.posix.node_object import NodeMode, OwnedNodeObject
from jaxfs.programs.build_key import BuildKey, Steps, Types
from jaxfs.programs.compiled import ProgramVersion
from jaxfs.programs.names import types_name
from jaxfs.programs.program_versions import ProgramVersions
from jaxfs.programs.stats import Stats
from jaxfs.programs.stored_records import BindingRecord
from jaxfs.quotas import Charge


class InputBinding(Protocol):
    """A file of ``inputs/``, as far as its program needs it."""

    @property
    def key(self) -> str:
        """Its name: the number or the name of an input, or a prefix of several names."""
        ...

    @property
    def target(self) -> str:
        """The target of a symbolic link; empty for an array of its own."""
        ...

    def drop(self) -> None:
        """Frees what it holds: the program is gone."""
        ...


@attrs.define(eq=False, kw_only=True)
class Program(ProgramVersions, OwnedNodeObject):
    """What all programs have.

    Attributes:
        device: the name of its device; empty: the first one.
        modes: permissions that chmod set, by file name, instead of the defaults of the node table.
        stats: figures of its calls.
        inputs: bindings by the key path of the input.
        checked: the report of each user's last comparison with the reference interpreter, by uid:
            the inputs may be private.
        serial: distinguishes node objects for as long as the daemon runs.
        specializations: programs made from this one for some input types, least recently used
            first.
        transformed: programs made from this one that were used; they are remembered.
        known: programs made from this one that are in use somewhere.
    """

    device: str = ""
    modes: dict[str, int] = attrs.field(factory=dict)
    stats: Stats = attrs.field(factory=Stats)
    inputs: dict[str, InputBinding] = attrs.field(factory=dict)
    checked: dict[int, str] = attrs.field(factory=dict)
    serial: int = attrs.field(factory=lambda: next(SERIALS))
    specializations: dict[Types, DerivedProgram] = attrs.field(factory=dict)
    transformed: dict[Steps, DerivedProgram] = attrs.field(factory=dict)
    known: WeakValueDictionary[Steps, DerivedProgram] = attrs.field(factory=WeakValueDictionary)

    @property
    def label(self) -> str:
        """Its name in ``status`` files."""
        return self.path

    @property
    @abstractmethod
    def attr(self) -> InodeAttr:
        """Owner, mode and times."""

    @property
    @abstractmethod
    def build_key(self) -> BuildKey:
        """Everything that decides what it computes."""

    def cancel_builds(self) -> None:
        """Ends the builds that no call waits for, also those of programs made from this one."""
        super().cancel_builds()
        for derived in (*self.specializations.values(), *self.known.values()):
            derived.cancel_builds()

    def drop_inputs(self) -> None:
        """Unbinds all inputs, also those of programs made from this one."""
        for binding in self.inputs.values():
            binding.drop()
        self.inputs.clear()
        for derived in (*self.specializations.values(), *self.transformed.values()):
            derived.drop_inputs()

    def mode_of(self, spec: NodeMode) -> int:
        """Returns the mode of the source for the source file.

        Another file has the mode that chmod gave it, else that of its spec for those who may read
        the source.
        """
        if spec.is_primary:
            return self.attr.mode
        return self.modes.get(spec.name, allowed_to_readers(spec.mode, self.attr.mode))

    def set_mode(self, spec: NodeMode, mode: int) -> None:
        """Changes the mode of the source, or of one other file.

        Args:
            spec: The file; the source is the primary one.
            mode: The new permission bits; those that the file cannot have are dropped.
        """
        if spec.is_primary:
            self.attr.mode = mode & spec.mode
        else:
            self.modes[spec.name] = mode & spec.mode


def _stay_as_it_is(program: SourceProgram) -> None:
    """Begins no build: the program is in no mount."""


@attrs.define(eq=False, kw_only=True)
class SourceProgram(Program):
    """A program whose source is a file of ``programs/``.

    Attributes:
        name: without the extension; the name of its directory.
        extension: of the source's file, without the dot.
        owner: owner, mode and times.
        options: arguments of ``jax.jit`` for a pickled function.
        source_sha256: hash of the source; empty before the first one is written.
        source_bytes: size of the source.
        is_removed: whether its file was removed or replaced by a rename.
        start: begins to build its source again.
        is_recorded: whether the state directory has its record.
        pending_sha256: hash of a source that a rename put in the place of this one, and that no
            build has ended for; empty if there is none.
        kept_bindings: symbolic links in ``inputs/`` from before a remount, not bound again yet.
        kept_transformed: steps of transformed programs from before a remount, not listed again yet.
        kept_specializations: likewise, the types of specializations.
        place: what the program costs its user, besides its files.
    """

    name: str
    extension: str
    owner: InodeAttr
    options: dict[str, str] = attrs.field(factory=dict)
    source_sha256: str = ""
    source_bytes: int = 0
    error: JaxfsError | None = attrs.field(
        factory=lambda: Invalid("nothing was written to it yet"), converter=recorded
    )
    is_removed: bool = False
    start: Callable[[SourceProgram], None] = _stay_as_it_is
    is_recorded: bool = False
    pending_sha256: str = ""
    kept_bindings: list[BindingRecord] = attrs.field(factory=list)
    kept_transformed: list[list[str]] = attrs.field(factory=list)
    kept_specializations: list[list[str]] = attrs.field(factory=list)
    place: Charge | None = None

    @property
    def path(self) -> str:
        """``programs/`` and its name."""
        return f"programs/{self.name}"

    @property
    def label(self) -> str:
        """Its name."""
        return self.name

    @property
    def source_name(self) -> str:
        """The name of its source's file."""
        return f"{self.name}.{self.extension}"

    @property
    def attr(self) -> InodeAttr:
        """Its owner's."""
        return self.owner

    def pass_to(self, owner: InodeAttr) -> None:
        """Gives the program another owner, mode and times; that owner is charged for it."""
        self.owner = owner
        if self.place is not None:
            self.place.move(owner.uid)

    @property
    def build_key(self) -> BuildKey:
        """Its source and options."""
        return BuildKey(self.source_sha256, tuple(sorted(self.options.items())))

    @property
    def removed(self) -> bool:
        """Whether its file was removed."""
        return self.is_removed

    def start_build(self) -> None:
        """Begins to build its source again."""
        self.start(self)

    @property
    def _is_unwanted(self) -> bool:
        """Whether it was removed: calls that wait for it could not use it."""
        return self.is_removed

    def cancel_builds(self) -> None:
        """Ends all its builds: a call that waits for one could not use it."""
        self._end_builds()
        super().cancel_builds()

    def bindings(self) -> list[BindingRecord]:
        """Returns the symbolic links in ``inputs/`` of this program and of transformed ones."""
        places = {(): self.inputs, **{n: made.inputs for n, made in self.transformed.items()}}
        return [
            BindingRecord(list(steps), binding.key, binding.target)
            for steps, inputs in places.items()
            for binding in inputs.values()
            if binding.target
        ] + self.kept_bindings


@attrs.define(eq=False, kw_only=True)
class DerivedProgram(Program):
    """A program made from another one at its first use.

    Attributes:
        base: the program it is made from.
        steps: transformations that ``base`` gets, the outermost first.
        types: input types it is specialized for; None if it is not.
        start: begins its build.
        is_outdated: whether ``base`` was replaced; only specializations do not follow it.
    """

    base: Program
    steps: Steps = ()
    types: Types | None = None
    start: Callable[[DerivedProgram], None]
    is_outdated: bool = False

    @property
    def path(self) -> str:
        """Below ``transformations/``, or below the base's ``specializations/``."""
        if self.types is not None:
            return f"{self.base.path}/specializations/{types_name(self.types)}"
        return "/".join(["transformations", *self.steps, self.base.label])

    @property
    def attr(self) -> InodeAttr:
        """The base's."""
        return self.base.attr

    @property
    def build_key(self) -> BuildKey:
        """The base's, with its own steps and types."""
        return self.base.build_key.then(self.steps, self.types)

    @property
    def removed(self) -> bool:
        """Whether the base was removed, or replaced under a specialization."""
        return self.base.removed or self.is_outdated

    def start_build(self) -> None:
        """Begins to make it from its base."""
        self.start(self)

    def forget(self) -> None:
        """Drops the current version, because the base was replaced."""
        self.compiled, self.untyped, self.error = None, None, None

    async def wait_compiled(self) -> ProgramVersion:
        """Returns the current version, which is made now if this is the first use.

        Raises:
            NotSupported: the base cannot be transformed so; with the reason.
            BrokenProgram: no build has worked.
        """
        try:
            return await super().wait_compiled()
        except BrokenProgram:
            if isinstance(self.error, NotSupported):
                raise NotSupported(self.error.reason, self.error.diagnostics) from None
            raise

    @property
    def owner_id(self) -> int:
        """The serial of the written program that it is made from: they disappear together."""
        return self.base.owner_id


def root_of(program: Program) -> SourceProgram:
    """Returns the source program that a program is made from, or the program itself.

    A specialization of a transformed program is two steps away from it.
    """
    while isinstance(program, DerivedProgram):
        program = program.base
    assert isinstance(program, SourceProgram)
    return program
