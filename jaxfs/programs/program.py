"""A program as its users see it: something whose versions replace one another.

A `SourceProgram` has its source in a file of ``programs/``.  A `DerivedProgram` is made from
another program: transformed, as ``transformations/grad/loss`` is, or specialized for input types.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol
from weakref import WeakValueDictionary

import attrs
import trio

from jaxfs.compiler.job_protocol import UntypedProgram
from jaxfs.errors import BrokenProgram, Invalid, JaxfsError, NotSupported, recorded
from jaxfs.posix.credentials import SERIALS, InodeAttr, allowed_to_readers
from jaxfs.posix.node_object import NodeMode, OwnedNodeObject
from jaxfs.programs.build_key import BuildKey, Steps, Types
from jaxfs.programs.compiled import CompiledProgram, ProgramVersion
from jaxfs.programs.names import types_name
from jaxfs.programs.stats import Stats
from jaxfs.programs.store import BindingRecord


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
class Program(OwnedNodeObject, ABC):
    """What all programs have.

    Attributes:
        device: the name of its device; empty: the first one.
        modes: permissions that chmod set, by file name, instead of the defaults of the node table.
        compiled: the version that calls run; None if there is none or it is untyped.
        untyped: set instead of ``compiled`` if the input types come with each call.
        error: why the last build failed; None after one that did not.
        stats: figures of its calls.
        inputs: bindings by the key path of the input.
        building: what is built now, the last one where there are several builds.
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
    compiled: CompiledProgram | None = None
    untyped: UntypedProgram | None = None
    error: JaxfsError | None = attrs.field(default=None, converter=recorded)
    stats: Stats = attrs.field(factory=Stats)
    inputs: dict[str, InputBinding] = attrs.field(factory=dict)
    building: BuildKey | None = None
    checked: dict[int, str] = attrs.field(factory=dict)
    serial: int = attrs.field(factory=lambda: next(SERIALS))
    specializations: dict[Types, DerivedProgram] = attrs.field(factory=dict)
    transformed: dict[Steps, DerivedProgram] = attrs.field(factory=dict)
    known: WeakValueDictionary[Steps, DerivedProgram] = attrs.field(factory=WeakValueDictionary)
    _builds: int = 0  # under way
    _building_since_s: float = 0.0
    _last_build: int = 0
    _current_build: int = 0  # the one that made the current version
    _changed: trio.Event = attrs.field(factory=trio.Event)

    @property
    @abstractmethod
    def path(self) -> str:
        """Its directory, relative to the mount point."""

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

    @property
    @abstractmethod
    def removed(self) -> bool:
        """Whether it is no longer in the mount."""

    @property
    def state(self) -> str:
        """Returns compiling, ready, untyped, failed or unused.

        A program with a version stays ready or untyped while that is replaced.
        """
        if self.compiled is not None:
            return "ready"
        if self.untyped is not None:
            return "untyped"
        if self._builds:
            return "compiling"
        return "failed" if self.error is not None else "unused"

    @property
    def current(self) -> ProgramVersion | None:
        """The version that calls use, compiled or untyped."""
        return self.compiled or self.untyped

    @property
    def changed(self) -> trio.Event:
        """Set at the next change of state."""
        return self._changed

    def drop_inputs(self) -> None:
        """Unbinds all inputs, also those of programs made from this one."""
        for binding in self.inputs.values():
            binding.drop()
        self.inputs.clear()
        for derived in (*self.specializations.values(), *self.transformed.values()):
            derived.drop_inputs()

    @property
    def building_usec(self) -> int:
        """Microseconds since the build under way began; 0 if there is none."""
        since_s = trio.current_time() - self._building_since_s
        return int(since_s * 1e6) if self._builds else 0

    def begin_build(self) -> int:
        """Notes that a build begins.  Returns its number, for `end_build`."""
        if not self._builds:
            self._building_since_s = trio.current_time()
        self._builds += 1
        self._last_build += 1
        self._wake()
        return self._last_build

    def end_build(self, number: int, outcome: ProgramVersion | JaxfsError) -> bool:
        """Notes that a build has ended.  Returns whether it made the current version.

        A build that ends after a younger one was installed changes nothing.
        """
        self._builds -= 1
        if not self._builds:
            self.building = None
        is_latest = number > self._current_build
        is_made = not isinstance(outcome, JaxfsError)
        if is_latest and isinstance(outcome, JaxfsError):
            self.error = outcome
        elif is_latest:
            self.compiled = outcome if isinstance(outcome, CompiledProgram) else None
            self.untyped = outcome if isinstance(outcome, UntypedProgram) else None
            self.error, self._current_build = None, number
        self._wake()
        return is_latest and is_made

    async def wait_compiled(self) -> ProgramVersion:
        """Returns the current version, after the first build if there is none yet.

        Raises:
            BrokenProgram: no build has worked.
        """
        while self.current is None and self._builds:
            await self._changed.wait()
        if self.current is None:
            raise BrokenProgram(f"{self.path} has no version that works; read {self.path}/error")
        return self.current

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

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
        kept_bindings: symbolic links in ``inputs/`` from before a remount, not bound again yet.
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
    kept_bindings: list[BindingRecord] = attrs.field(factory=list)

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

    @property
    def build_key(self) -> BuildKey:
        """Its source and options."""
        return BuildKey(self.source_sha256, tuple(sorted(self.options.items())))

    @property
    def removed(self) -> bool:
        """Whether its file was removed."""
        return self.is_removed

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

    def forget(self) -> None:
        """Drops the current version, because the base was replaced."""
        self.compiled, self.untyped, self.error = None, None, None

    async def wait_compiled(self) -> ProgramVersion:
        """Returns the current version, which is made now if this is the first use.

        Raises:
            NotSupported: the base cannot be transformed so; with the reason.
            BrokenProgram: no build has worked.
        """
        if self.state == "unused":
            self.start(self)
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


@attrs.define(eq=False)
class StagedFile(OwnedNodeObject):
    """A file whose name begins with a dot: it is stored as it is until it is renamed.

    Attributes:
        name: with the dot.
        attr: owner, mode and times.
        data: its bytes.
        serial: distinguishes node objects for as long as the daemon runs.
    """

    name: str
    attr: InodeAttr
    data: bytes = b""
    serial: int = attrs.field(factory=lambda: next(SERIALS))

    def mode_of(self, spec: NodeMode) -> int:
        """Returns its own mode: it is one file."""
        del spec
        return self.attr.mode

    def set_mode(self, spec: NodeMode, mode: int) -> None:
        """Changes its own mode."""
        self.attr.mode = mode & spec.mode
