"""Programs made from programs: transformed, and specialized for the types of a call.

Each is made at its first use and again when what it is made from is replaced.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from jaxfs.compiler.job_protocol import UntypedProgram
from jaxfs.compiler.transforms.table import parse
from jaxfs.errors import BrokenProgram, Cancelled, Invalid, JaxfsError
from jaxfs.programs.builder import Author, Builder
from jaxfs.programs.compiled import CompiledProgram
from jaxfs.programs.program import DerivedProgram, Program, SourceProgram, Steps, Types, root_of
from jaxfs.types.partial_avals import check_types

MAX_SPECIALIZATIONS = 256  # of one program; beyond them, the one that was not used for longest goes
log = logging.getLogger(__name__)


class Derivations:
    """Makes derived programs, each once; ``remember`` keeps which there are."""

    def __init__(
        self, builder: Builder, remember: Callable[[SourceProgram], None], nursery: trio.Nursery
    ) -> None:
        self._builder = builder
        self._remember = remember
        self._nursery = nursery

    def transform(self, base: SourceProgram, steps: Steps) -> DerivedProgram:
        """The program ``base`` becomes by ``steps``, the same object each time.  Raises Invalid."""
        if not steps:
            raise Invalid("no transformation was named")
        canonical = tuple(parse(step).canonical for step in steps)
        found = base.known.get(canonical)
        if found is None:
            found = DerivedProgram(base=base, steps=canonical, start=self.start)
            base.known[canonical] = found
        return found

    def specialize(self, base: Program, types: Types) -> DerivedProgram:
        """``base`` for inputs of these types, the same object each time."""
        found = base.specializations.pop(types, None)
        if found is None or found.is_outdated:
            found = DerivedProgram(base=base, types=types, start=self.start)
            while len(base.specializations) >= MAX_SPECIALIZATIONS:
                base.specializations.pop(next(iter(base.specializations)))
        base.specializations[types] = found  # behind those that were not used since
        return found

    async def version_for(self, base: Program, types: Types) -> CompiledProgram:
        """What ``base`` is for these types.  Raises Invalid for types that do not fit what is known
        of its inputs, and what making it raised."""
        if base.untyped is not None and base.untyped.inputs:
            check_types(base.untyped.parameters, base.untyped.inputs, types)
        derived = self.specialize(base, types)
        try:
            served = await derived.wait_compiled()
        except BrokenProgram:
            if derived.error is None:
                raise
            error = derived.error
            raise type(error)(error.reason, error.diagnostics) from None
        assert isinstance(served, CompiledProgram)
        return served

    def start(self, derived: DerivedProgram) -> None:
        """Begin to make a program; it is listed from now on."""
        if derived.types is None and isinstance(derived.base, SourceProgram):
            derived.base.transformed[derived.steps] = derived
        self._nursery.start_soon(self._make, derived, derived.begin_build())

    async def _make(self, derived: DerivedProgram, number: int) -> None:
        outcome: CompiledProgram | UntypedProgram | JaxfsError = Cancelled("it was interrupted")
        try:
            await derived.base.wait_compiled()
            outcome = await self._build(derived)
        except JaxfsError as error:
            outcome = error
        except Exception as error:
            log.exception("internal error while making %s", derived.path)
            outcome = Invalid(f"internal error: {error!r}")
        finally:
            if derived.end_build(number, outcome):
                self._note(derived)

    def _note(self, derived: DerivedProgram) -> None:
        try:
            self._remember(root_of(derived))
        except JaxfsError as error:  # a full disk: it is there all the same, until a remount
            log.warning("%s will not be there after a remount: %s", derived.path, error)

    async def _build(self, derived: DerivedProgram) -> CompiledProgram | UntypedProgram:
        root = root_of(derived)
        device = self._builder.device(derived.device or root.device)
        derived.building = derived.build_key
        made = await self._builder.build(derived.building, device, Author.of(root))
        if isinstance(made, UntypedProgram) and derived.types is not None:
            raise Invalid(f"{made.reason}; the types {derived.types} do not settle that")
        return made

    def outdate(self, base: Program) -> None:
        """What ``base`` is made from was replaced: whatever was made from ``base`` is not it."""
        for specialization in base.specializations.values():
            specialization.is_outdated = True
        base.specializations.clear()
        for derived in tuple(base.transformed.values()):
            self.outdate(derived)
            derived.forget()
            self.start(derived)

    def recall(self, base: SourceProgram, steps: Steps, types: Types | None) -> None:
        """List a derived program again that was there before a remount.

        Where its parts are not, as after an upgrade of jax, its next use makes it.
        """
        derived = self.specialize(base, types) if types else self.transform(base, steps)
        made = self._builder.recall(derived.build_key, self._builder.device(base.device))
        if made is not None:
            derived.end_build(derived.begin_build(), made)
        if types is None:
            base.transformed[derived.steps] = derived
