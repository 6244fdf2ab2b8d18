"""Programs made from programs: transformed, or specialized for input types.

Each is built at its first use, and again when the program it is made from is replaced.
"""

from __future__ import annotations

import logging

import trio

from jaxfs.compiler.job_protocol import UntypedProgram
from jaxfs.compiler.transforms.table import parse
from jaxfs.engine.protocol import Device
from jaxfs.errors import BrokenProgram, Cancelled, Invalid, JaxfsError, RunFailed
from jaxfs.programs.build_key import Steps, Types
from jaxfs.programs.build_steps import BuildRequest
from jaxfs.programs.builder import Builder
from jaxfs.programs.compiled import CompiledProgram, ProgramVersion
from jaxfs.programs.program import DerivedProgram, Program, SourceProgram, root_of
from jaxfs.programs.program_records import remember
from jaxfs.programs.program_versions import BuildTarget
from jaxfs.types.avals import parse_aval
from jaxfs.types.partial_avals import check_types

MAX_SPECIALIZATIONS = 256  # of one program; beyond them, the least recently used is dropped
MAX_TRANSFORMED = 256  # likewise, of those without bound inputs
log = logging.getLogger(__name__)


class Derivations:
    """Makes derived programs, one object for each."""

    def __init__(self, builder: Builder, nursery: trio.Nursery) -> None:
        self._builder = builder
        self._nursery = nursery

    def transform(self, base: SourceProgram, steps: Steps) -> DerivedProgram:
        """Returns ``base`` transformed by ``steps``, the same object each time.

        Raises:
            Invalid: There are no steps, or one is no transformation with valid options.
        """
        if not steps:
            raise Invalid("no transformation was named")
        canonical = tuple(parse(step).canonical for step in steps)
        found = base.known.get(canonical)
        if found is None:
            found = DerivedProgram(base=base, steps=canonical, start=self.start)
            base.known[canonical] = found
        return found

    def specialize(self, base: Program, types: Types) -> DerivedProgram:
        """Returns ``base`` for these input types, the same object each time."""
        found = base.specializations.pop(types, None)
        if found is None or found.is_outdated:
            found = DerivedProgram(base=base, types=types, start=self.start)
            while len(base.specializations) >= MAX_SPECIALIZATIONS:
                self._builder.disk.drop(base.specializations.pop(next(iter(base.specializations))))
        base.specializations[types] = found  # the most recently used is last
        return found

    async def version_for(self, base: Program, types: Types) -> CompiledProgram:
        """Returns ``base`` compiled for these input types.

        Raises:
            Invalid: The types contradict those that are known.
            JaxfsError: What the build raised.
        """
        if base.untyped is not None and base.untyped.inputs:
            check_types(base.untyped.parameters, base.untyped.inputs, types)
        derived = self.specialize(base, types)
        try:
            version = await derived.wait_compiled()
        except BrokenProgram:
            if derived.error is None:
                raise
            error = derived.error
            raise type(error)(error.reason, error.diagnostics) from None
        assert isinstance(version, CompiledProgram)
        return version

    def start(self, derived: DerivedProgram) -> None:
        """Begins to build a program, which is listed from now on.

        A specialization needs no entry here: its base has listed it since it was made.
        """
        if derived.types is None and isinstance(derived.base, SourceProgram):
            self._list(derived.base, derived)
        self._nursery.start_soon(self._build, derived, derived.begin_build())

    async def _build(self, derived: DerivedProgram, number: int) -> None:
        outcome: ProgramVersion | JaxfsError = Cancelled("it was interrupted")
        try:
            await derived.base.wait_compiled()
            device = self._builder.device(derived.device or root_of(derived).device)
            target = BuildTarget(derived.build_key, device.name)
            made = await derived.run_build(number, target, lambda: self._make(derived, device))
            outcome = made or outcome
        except JaxfsError as error:
            outcome = error
        except Exception as error:
            log.exception("internal error while making %s", derived.path)
            outcome = RunFailed(f"internal error: {error!r}")
        finally:
            is_current = derived.end_build(number, outcome)
            self._builder.disk.update(derived)
            if is_current:
                self._remember(derived)

    async def _make(self, derived: DerivedProgram, device: Device) -> ProgramVersion:
        version = await self._builder.build(BuildRequest.of(derived), device)
        if isinstance(version, UntypedProgram) and derived.types is not None:
            listed = ", ".join(map(str, derived.types)) or "of no inputs"
            raise Invalid(f"{version.reason}; the types {listed} do not settle that")
        return version

    def _remember(self, derived: DerivedProgram) -> None:
        try:
            remember(self._builder.store, root_of(derived))
        except JaxfsError as error:  # a full disk: the program works all the same
            log.warning("%s will not be there after a remount: %s", derived.path, error)

    def outdate(self, base: Program) -> None:
        """Drops what was made from ``base``, which was replaced, and begins to build it again."""
        for specialization in base.specializations.values():
            specialization.is_outdated = True
            specialization.cancel_builds()
            self._builder.disk.drop(specialization)
        base.specializations.clear()
        for derived in tuple(base.transformed.values()):
            self.outdate(derived)
            derived.forget()
            self.start(derived)

    def recall_kept(self, base: SourceProgram) -> None:
        """Lists the derived programs of before a remount.

        Those that only another version of jaxfs knows stay in the program's record.
        """
        transformed, base.kept_transformed = base.kept_transformed, []
        for steps in transformed:
            try:
                self._recall(base, tuple(steps), None)
            except JaxfsError:
                base.kept_transformed.append(steps)
        specializations, base.kept_specializations = base.kept_specializations, []
        for types in specializations:
            try:
                self._recall(base, (), tuple(map(parse_aval, types)))
            except JaxfsError:
                base.kept_specializations.append(types)

    def _recall(self, base: SourceProgram, steps: Steps, types: Types | None) -> None:
        """Lists a derived program of before a remount, ready if it is in the state directory.

        Otherwise, as after an upgrade of jax, its next use builds it.
        """
        derived = self.transform(base, steps) if types is None else self.specialize(base, types)
        version = self._builder.recall(BuildRequest.of(derived), self._builder.device(base.device))
        if types is None:
            self._list(base, derived)
        if version is not None:
            derived.end_build(derived.begin_build(), version)
            self._builder.disk.update(derived)

    def _list(self, base: SourceProgram, derived: DerivedProgram) -> None:
        """Lists a transformed program, the most recently used last, and drops the oldest ones.

        One that is dropped is made again at its next use.
        """
        base.transformed.pop(derived.steps, None)
        base.transformed[derived.steps] = derived
        unbound = [one for one in base.transformed.values() if not one.inputs]
        for oldest in unbound[: max(0, len(unbound) - MAX_TRANSFORMED)]:
            del base.transformed[oldest.steps]
            self._builder.disk.drop(oldest)
