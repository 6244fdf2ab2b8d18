"""A program as its users see it: something that serves one version after another.

``Written`` programs stand in files of ``programs/``.  ``Derived`` ones are made from another
program: transformed, as ``transformations/grad/loss`` is, or specialized for the types of a call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

import attrs
import trio

from jaxfs.compiler.job_protocol import UntypedProgram
from jaxfs.errors import BrokenProgram, Invalid, JaxfsError, NotSupported
from jaxfs.posix.credentials import SERIALS, InodeAttr
from jaxfs.programs.build_key import BuildKey
from jaxfs.programs.compiled import CompiledProgram
from jaxfs.programs.names import types_name
from jaxfs.programs.stats import Stats
from jaxfs.programs.store import BindingRecord
from jaxfs.types.avals import Aval

Types = tuple[Aval, ...]
Steps = tuple[str, ...]  # as in a path: ("vmap", "grad") is vmap of grad


@attrs.define(eq=False, kw_only=True)
class Program:
    """What all programs have.  ``modes`` holds what chmod changed, by file name, over the defaults
    of the node table.

    ``untyped`` is set instead of ``version`` where the types come with the call.
    """

    device: str = ""  # empty: the first one
    modes: dict[str, int] = attrs.field(factory=dict)
    compiled: CompiledProgram | None = None
    untyped: UntypedProgram | None = None
    error: JaxfsError | None = None
    stats: Stats = attrs.field(factory=Stats)
    inputs: dict[str, Any] = attrs.field(factory=dict)  # bindings, by key: see calls.bindings
    building: BuildKey | None = None  # what is built now, the last where there are several
    checked: str = ""  # what the last comparison with the reference interpreter said
    serial: int = attrs.field(factory=lambda: next(SERIALS))
    specializations: dict[Types, DerivedProgram] = attrs.field(factory=dict)
    transformed: dict[Steps, DerivedProgram] = attrs.field(factory=dict)  # those that were used
    known: WeakValueDictionary[Steps, DerivedProgram] = attrs.field(factory=WeakValueDictionary)
    _builds: int = 0
    _building_since_s: float = 0.0
    _last_build: int = 0
    _serving_build: int = 0
    _changed: trio.Event = attrs.field(factory=trio.Event)

    @property
    def path(self) -> str:
        """Where it stands in the mount."""
        raise NotImplementedError

    @property
    def label(self) -> str:
        """What ``status`` files call it."""
        return self.path

    @property
    def meta(self) -> InodeAttr:
        """Owner, mode and times."""
        raise NotImplementedError

    @property
    def build_key(self) -> BuildKey:
        """What decides what it computes."""
        raise NotImplementedError

    @property
    def removed(self) -> bool:
        """Whether it is not in the mount any more."""
        raise NotImplementedError

    @property
    def state(self) -> str:
        """compiling | ready | untyped | failed | unused.

        A program that serves stays so while it is replaced.
        """
        if self.compiled is not None:
            return "ready"
        if self.untyped is not None:
            return "untyped"
        if self._builds:
            return "compiling"
        return "failed" if self.error is not None else "unused"

    @property
    def current(self) -> CompiledProgram | UntypedProgram | None:
        """What calls meet."""
        return self.compiled or self.untyped

    @property
    def changed(self) -> trio.Event:
        """Set at the next change of state."""
        return self._changed

    def drop_inputs(self) -> None:
        """Unbind all inputs, also those of programs made from this one."""
        for binding in self.inputs.values():
            binding.drop()
        self.inputs.clear()
        for derived in (*self.specializations.values(), *self.transformed.values()):
            derived.drop_inputs()

    @property
    def building_usec(self) -> int:
        """How long it has been built by now; 0 while nothing is."""
        since_s = trio.current_time() - self._building_since_s
        return int(since_s * 1e6) if self._builds else 0

    def begin_build(self) -> int:
        """An attempt to replace the version begins; returns its number."""
        if not self._builds:
            self._building_since_s = trio.current_time()
        self._builds += 1
        self._last_build += 1
        self._wake()
        return self._last_build

    def end_build(
        self, number: int, outcome: CompiledProgram | UntypedProgram | JaxfsError
    ) -> bool:
        """The attempt has ended.  Returns whether what it made serves now.

        An attempt that ends after a younger one was installed changes nothing.
        """
        self._builds -= 1
        if not self._builds:
            self.building = None
        latest = number > self._serving_build
        made = not isinstance(outcome, JaxfsError)
        if latest and made:
            self.compiled = outcome if isinstance(outcome, CompiledProgram) else None
            self.untyped = outcome if isinstance(outcome, UntypedProgram) else None
            self.error, self._serving_build = None, number
        elif latest and isinstance(outcome, JaxfsError):
            self.error = outcome
        self._wake()
        return latest and made

    async def wait_compiled(self) -> CompiledProgram | UntypedProgram:
        """What to call, waiting while the first version compiles.  Raises BrokenProgram."""
        while self.current is None and self._builds:
            await self._changed.wait()
        if self.current is None:
            raise BrokenProgram(f"{self.path} has no version that works; read {self.path}/error")
        return self.current

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


@attrs.define(eq=False, kw_only=True)
class SourceProgram(Program):
    """A program whose source is a file of ``programs/``."""

    name: str
    extension: str
    owner: InodeAttr
    options: dict[str, str] = attrs.field(factory=dict)
    source_sha256: str = ""
    source_bytes: int = 0
    error: JaxfsError | None = attrs.field(factory=lambda: Invalid("nothing was written to it yet"))
    is_removed: bool = False
    kept_bindings: list[BindingRecord] = attrs.field(factory=list)  # of before a remount

    @property
    def path(self) -> str:
        return f"programs/{self.name}"

    @property
    def label(self) -> str:
        return self.name

    @property
    def source_name(self) -> str:
        """The file with its source."""
        return f"{self.name}.{self.extension}"

    @property
    def meta(self) -> InodeAttr:
        return self.owner

    @property
    def build_key(self) -> BuildKey:
        return BuildKey(self.source_sha256, tuple(sorted(self.options.items())))

    @property
    def removed(self) -> bool:
        return self.is_removed

    def bindings(self) -> list[BindingRecord]:
        """The symbolic links in ``inputs/``, of this program and of those made from it."""
        places = {(): self.inputs, **{n: made.inputs for n, made in self.transformed.items()}}
        return [
            BindingRecord(list(steps), binding.key, binding.target)
            for steps, inputs in places.items()
            for binding in inputs.values()
            if binding.target
        ] + self.kept_bindings


@attrs.define(eq=False, kw_only=True)
class DerivedProgram(Program):
    """A program made from ``base``: by ``steps``, or by fixing its ``types``.

    It is made at its first use: ``start`` begins that.
    """

    base: Program
    steps: Steps = ()
    types: Types | None = None
    start: Callable[[DerivedProgram], None]
    is_outdated: bool = False

    @property
    def path(self) -> str:
        if self.types is not None:
            return f"{self.base.path}/specializations/{types_name(self.types)}"
        return "/".join(["transformations", *self.steps, self.base.label])

    @property
    def meta(self) -> InodeAttr:
        return self.base.meta

    @property
    def build_key(self) -> BuildKey:
        return self.base.build_key.then(self.steps, self.types)

    @property
    def removed(self) -> bool:
        return self.base.removed or self.is_outdated

    def forget(self) -> None:
        """What served is not this program any more."""
        self.compiled, self.untyped, self.error = None, None, None

    async def wait_compiled(self) -> CompiledProgram | UntypedProgram:
        """Raises NotSupported, with the reason, for what cannot be transformed so."""
        if self.state == "unused":
            self.start(self)
        try:
            return await super().wait_compiled()
        except BrokenProgram:
            if isinstance(self.error, NotSupported):
                raise NotSupported(self.error.reason, self.error.diagnostics) from None
            raise


def root_of(program: Program) -> SourceProgram:
    """The written program that a program is made from."""
    while isinstance(program, DerivedProgram):
        program = program.base
    assert isinstance(program, SourceProgram)
    return program


@attrs.define(eq=False)
class StagedFile:
    """A file whose name begins with a dot: kept as it is until it is renamed."""

    name: str
    meta: InodeAttr
    data: bytes = b""
    serial: int = attrs.field(factory=lambda: next(SERIALS))
