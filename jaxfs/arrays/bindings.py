"""``inputs/<k>``: arrays that a program's calls take without naming them.

A binding is a symbolic link to an array or a result, looked up at each call with the rights of who
calls, or an array of its own.  Its key is the number or the name of an input, or what the names of
several begin with, as in a pytree's key path.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence

import attrs

from jaxfs.arrays.inputs import FindArray, Request, input_of_ref
from jaxfs.arrays.named import NamedArray
from jaxfs.arrays.producers import ArrayRef, leaf_order
from jaxfs.arrays.run_inputs import RunInput, release_inputs
from jaxfs.codecs.infer import ExpectedParams
from jaxfs.compiler.job_protocol import UntypedProgram
from jaxfs.errors import Invalid, JaxfsError, NameTaken, NotFound
from jaxfs.ipc.shared_memory import Pool
from jaxfs.posix.credentials import SERIALS, InodeAttr, allowed_to_readers
from jaxfs.posix.node_object import FixedNodeObject, NodeMode
from jaxfs.programs.compiled import CompiledProgram
from jaxfs.programs.program import DerivedProgram, Program, SourceProgram
from jaxfs.programs.program_registry import Programs
from jaxfs.types.buffers import Parameter


@attrs.define(eq=False)
class Binding(FixedNodeObject):
    """One file of ``inputs/``: ``target`` of a symbolic link, or an ``array`` of its own."""

    program: Program
    key: str
    target: str = ""
    array: NamedArray | None = None
    serial: int = attrs.field(factory=lambda: next(SERIALS))

    @property
    def path(self) -> str:
        return f"{self.program.path}/inputs/{self.key}"

    def ref(self, find: FindArray) -> ArrayRef:
        """What it stands for now.  Raises what looking it up raises, naming the binding."""
        try:
            return self.array.content() if self.array is not None else find(self._leads_to())
        except JaxfsError as error:
            kind = Invalid if isinstance(error, NotFound) else type(error)
            raise kind(f"{self.path}: {error.reason}", error.diagnostics) from error

    def drop(self) -> None:
        """Nothing is bound any more."""
        if self.array is not None:
            self.array.remove()

    def _leads_to(self) -> str:
        """The path in the mount; of an absolute one, whose beginning is where we are mounted, the
        last two parts."""
        if self.target.startswith("/"):
            return "/".join(self.target.rstrip("/").split("/")[-2:])
        here = posixpath.join("/", self.program.path, "inputs", self.target)
        return posixpath.normpath(here).lstrip("/")

    @property
    def owner_id(self) -> int:
        """The owner id of its program: they disappear together."""
        return self.program.owner_id

    @property
    def attr(self) -> InodeAttr:
        """Owner and times of its program."""
        return self.program.attr

    def mode_of(self, spec: NodeMode) -> int:
        """Returns, for an array of its own, the spec's mode for those who may read the program."""
        return spec.mode if self.array is None else allowed_to_readers(spec.mode, self.attr.mode)


def restore_bindings(programs: Programs) -> None:
    """The symbolic links of before a remount."""
    for program in programs:
        for record in program.kept_bindings:
            place: Program = program
            if record.steps:
                place = programs.derivations.transform(program, tuple(record.steps))
            bind(Binding(place, record.key, target=record.target))
        program.kept_bindings = []


def bind(binding: Binding) -> None:
    """Raises NameTaken."""
    program = binding.program
    if binding.key in program.inputs:
        raise NameTaken(f"{binding.path} is there already; remove it first")
    program.inputs[binding.key] = binding
    if isinstance(program, DerivedProgram) and isinstance(program.base, SourceProgram):
        program.base.transformed.setdefault(program.steps, program)  # it stays, used or not


@attrs.frozen
class BoundInput:
    """An input that is bound: array ``leaf`` of a part."""

    ref: ArrayRef
    leaf: int


def bindings(program: Program) -> list[Binding]:
    """Returns the bindings of a program, which itself knows only ``InputBinding``."""
    return [found for found in program.inputs.values() if isinstance(found, Binding)]


def bound(program: Program, names: Sequence[str], find: FindArray) -> dict[int, BoundInput]:
    """Which of the inputs with these names are bound, by number.

    Raises Invalid for a binding that fits no input, and what looking a binding up raises.
    """
    found = dict[int, BoundInput]()
    for binding in bindings(program):
        part = binding.ref(find)
        leaves = [param.name for param in part.params]
        numbers = _numbers(binding, names, len(leaves))
        order = leaf_order([names[number] for number in numbers], leaves)
        for number, leaf in zip(numbers, order, strict=True):
            if number in found:
                raise Invalid(f"{binding.path}: input {number} is bound twice")
            found[number] = BoundInput(part, leaf)
    return found


def _numbers(binding: Binding, names: Sequence[str], count: int) -> Sequence[int]:
    """The inputs that a binding of so many arrays is for."""
    key = binding.key
    if key.isdecimal() and int(key) + count <= len(names):
        return range(int(key), int(key) + count)
    prefix = f"{key}."
    chosen = [n for n, name in enumerate(names) if name == key or name.startswith(prefix)]
    if not chosen:
        raise Invalid(
            f"{binding.path}: {count} arrays for input {key!r}, and the inputs are "
            + (" ".join(name or str(n) for n, name in enumerate(names)) or "none")
        )
    if len(chosen) != count:
        raise Invalid(f"{binding.path}: {count} arrays for the {len(chosen)} inputs called {key}")
    return chosen


def parameter_names(served: CompiledProgram | UntypedProgram) -> Sequence[str]:
    """The names of the inputs; empty ones where the source tells none."""
    if isinstance(served, CompiledProgram):
        return [param.name for param in served.signature.inputs]
    return served.parameters


async def all_types(
    request: Request, served: UntypedProgram, fixed: Mapping[int, BoundInput]
) -> Sequence[Parameter]:
    """The types of all inputs, those that are bound where they are bound."""
    rest = [number for number in range(len(served.parameters)) if number not in fixed]
    names, known = [served.parameters[n] for n in rest], [served.inputs[n] for n in rest]
    params = list[Parameter](await request.infer(ExpectedParams(names, known)))
    for number, one in sorted(fixed.items()):
        params.insert(number, one.ref.params[one.leaf])
    return params


async def all_inputs(
    request: Request, params: Sequence[Parameter], fixed: Mapping[int, BoundInput], pool: Pool
) -> tuple[RunInput, ...]:
    """All inputs in order: what the request brings, and what is bound."""
    wanted = [param for number, param in enumerate(params) if number not in fixed]
    given = await request.decode(wanted, pool)
    if not fixed:
        return tuple(given)
    rest, found = iter(given), list[RunInput]()
    try:
        for number, param in enumerate(params):
            one = fixed.get(number)
            if one is not None:
                found.append(input_of_ref(number, param, one.ref, one.leaf, pool))
            else:
                found.append(next(rest))
    except JaxfsError:
        release_inputs([*found, *rest])
        raise
    return tuple(found)
