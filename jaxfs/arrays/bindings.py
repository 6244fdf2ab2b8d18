"""``inputs/<key>`` of a program: arrays that its calls take without naming them.

A binding is a symbolic link to an array or a result, or an array of its own.  A link is looked up
at each call, and counts if both the caller and the owner of the program may read what it leads to:
else the owner could have a caller's private array computed on, and read the result.  Its key is the
number or the name of an input, or a prefix of several names, as in a pytree's key path.
"""

from __future__ import annotations

import logging
import posixpath
import re
from collections.abc import Mapping, Sequence

import attrs

from jaxfs.arrays.array_refs import ArrayRef, leaf_order
from jaxfs.arrays.decoded_memory import Charge as ChargeBytes
from jaxfs.arrays.decoded_memory import InputCopies
from jaxfs.arrays.inputs import FindArray, Request, input_of_ref
from jaxfs.arrays.named_array import NamedArray
from jaxfs.arrays.run_inputs import RunInput, release_inputs
from jaxfs.codecs.infer import ExpectedParams
from jaxfs.compiler.job_protocol import UntypedProgram
from jaxfs.errors import Invalid, JaxfsError, NameTaken, NotFound
from jaxfs.ipc.shared_memory import Pool
from jaxfs.posix.credentials import SERIALS, InodeAttr, allowed_to_readers
from jaxfs.posix.node_object import FixedNodeObject, NodeMode
from jaxfs.programs.compiled import CompiledProgram, ProgramVersion
from jaxfs.programs.names import check as check_name
from jaxfs.programs.names import is_staging
from jaxfs.programs.program import DerivedProgram, Program, SourceProgram
from jaxfs.programs.program_records import check_target
from jaxfs.programs.program_registry import Programs
from jaxfs.quotas import ARRAYS, Charge, Quotas
from jaxfs.types.buffers import Parameter

log = logging.getLogger(__name__)
_LN_TEMPORARY = re.compile(r"Cu[A-Za-z0-9]{6}", re.ASCII)  # the link that ln -sf renames


@attrs.define(eq=False)
class Binding(FixedNodeObject):
    """One file of ``inputs/``.  Implements ``InputBinding``.

    Attributes:
        program: The program that has the input.
        key: The name of the file.
        target: The target of a symbolic link; empty for an array.
        array: The array, if it is one.
        charge: What it costs its user.
        serial: Numbers its inodes.
    """

    program: Program
    key: str
    target: str = ""
    array: NamedArray | None = None
    charge: Charge | None = None
    serial: int = attrs.field(factory=lambda: next(SERIALS))

    @property
    def path(self) -> str:
        """The path of the file in the mount."""
        return f"{self.program.path}/inputs/{self.key}"

    def ref(self, find: FindArray) -> ArrayRef:
        """Returns what it leads to now.

        Raises:
            JaxfsError: What ``find`` raises, with the path of the binding added.
        """
        try:
            return self.array.content() if self.array is not None else find(self._target_path())
        except JaxfsError as error:
            kind = Invalid if isinstance(error, NotFound) else type(error)
            raise kind(f"{self.path}: {error.reason}", error.diagnostics) from error

    def drop(self) -> None:
        """Frees an array of its own, and ends what it costs."""
        if self.charge is not None:
            self.charge.refund()
        if self.array is not None:
            self.array.remove()

    def _target_path(self) -> str:
        """Returns the target as a path in the mount.

        Of an absolute target the last two parts count: the mount does not know where in the
        filesystem it is mounted.
        """
        if self.target.startswith("/"):
            return "/".join(self.target.rstrip("/").split("/")[-2:])
        joined = posixpath.join("/", self.program.path, "inputs", self.target)
        return posixpath.normpath(joined).lstrip("/")

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


def restore_bindings(programs: Programs, quotas: Quotas) -> None:
    """Binds the symbolic links that were there before a remount; logs those that cannot be."""
    for program in programs:
        records, program.kept_bindings = program.kept_bindings, []
        for record in records:
            owner: Program = program
            try:
                check_target(record.target)
                check_name(record.key)
                if record.steps:
                    owner = programs.derivations.transform(program, tuple(record.steps))
                charge = quotas.charge(program.attr.uid, ARRAYS, 1, force=True)
                bind(Binding(owner, record.key, target=record.target, charge=charge))
            except JaxfsError as error:
                place = f"{program.path}/inputs/{record.key}"
                log.warning("a binding %s is left out: %s", place[:200], error.reason)


def bind(binding: Binding) -> None:
    """Adds a binding to its program.

    Raises:
        NameTaken: The program has a binding of this key; the new one costs nothing.
    """
    program = binding.program
    if binding.key in program.inputs:
        binding.drop()
        raise NameTaken(f"{binding.path} is there already; remove it first")
    program.inputs[binding.key] = binding
    if isinstance(program, DerivedProgram) and isinstance(program.base, SourceProgram):
        program.base.transformed.setdefault(program.steps, program)  # kept alive, used or not


def bindings(program: Program) -> list[Binding]:
    """Returns the bindings of a program, which itself knows only ``InputBinding``."""
    return [found for found in program.inputs.values() if isinstance(found, Binding)]


@attrs.frozen
class BoundInput:
    """An input that is bound.

    Attributes:
        ref: What the binding leads to.
        leaf: The position of the input's array in it.
    """

    ref: ArrayRef
    leaf: int


def bound_inputs(program: Program, names: Sequence[str], find: FindArray) -> dict[int, BoundInput]:
    """Returns the bound inputs by number.

    Args:
        program: The program with the bindings.
        names: The names of all its inputs, in order; empty where an input has none.
        find: Looks up what a symbolic link leads to.

    Raises:
        Invalid: A binding fits no input, or an input is bound twice.
        JaxfsError: What looking a binding up raised.
    """
    found = dict[int, BoundInput]()
    for binding in bindings(program):
        if _is_temporary(binding.key, names):
            continue
        ref = binding.ref(find)
        leaves = [param.name for param in ref.params]
        numbers = _numbers_of(binding, names, len(leaves))
        order = leaf_order([names[number] for number in numbers], leaves)
        for number, leaf in zip(numbers, order, strict=True):
            if number in found:
                raise Invalid(f"{binding.path}: input {number} is bound twice")
            found[number] = BoundInput(ref, leaf)
    return found


def _is_temporary(key: str, names: Sequence[str]) -> bool:
    """Whether a binding is renamed to an input's name soon: by ``ln -sf``, or a careful writer."""
    prefix = f"{key}."
    if any(name == key or name.startswith(prefix) for name in names):
        return False
    return is_staging(key) or _LN_TEMPORARY.fullmatch(key) is not None


def _numbers_of(binding: Binding, names: Sequence[str], count: int) -> Sequence[int]:
    """Returns the numbers of the inputs that a binding of ``count`` arrays is for."""
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


def parameter_names(current: ProgramVersion) -> Sequence[str]:
    """Returns the names of the inputs, empty where the source has none."""
    if isinstance(current, CompiledProgram):
        return [param.name for param in current.signature.inputs]
    return current.parameters


async def infer_params(
    request: Request, untyped: UntypedProgram, bound: Mapping[int, BoundInput]
) -> Sequence[Parameter]:
    """Returns names and types of all inputs: of the request's and of the bound ones.

    Raises:
        Invalid: The request does not fit what is known of the types.
    """
    free = [number for number in range(len(untyped.parameters)) if number not in bound]
    names, known = [untyped.parameters[n] for n in free], [untyped.inputs[n] for n in free]
    params = list[Parameter](await request.infer(ExpectedParams(names, known)))
    for number, one in sorted(bound.items()):
        params.insert(number, one.ref.param(one.leaf))
    return params


async def decode_inputs(
    request: Request,
    params: Sequence[Parameter],
    bound: Mapping[int, BoundInput],
    pool: Pool,
    charge: ChargeBytes,
) -> tuple[RunInput, ...]:
    """Returns all inputs in order, the request's and the bound ones, retained.

    Args:
        request: What was written.
        params: The parameters of the program.
        bound: The inputs that are bound, by number.
        pool: The memory for what has to be copied.
        charge: Charges the user for that memory.

    Raises:
        JaxfsError: As ``Request.decode``.
    """
    free = [param for number, param in enumerate(params) if number not in bound]
    decoded = await request.decode(free, pool, charge)
    if not bound:
        return tuple(decoded)
    rest, found = iter(decoded), list[RunInput]()
    copies = InputCopies(pool, charge)
    try:
        for number, param in enumerate(params):
            one = bound.get(number)
            if one is not None:
                found.append(input_of_ref(number, param, one.ref, one.leaf, copies))
            else:
                found.append(next(rest))
        await copies.make(request.uid)
    except BaseException:
        release_inputs([*found, *rest])
        raise
    finally:
        copies.close()
    return tuple(found)
