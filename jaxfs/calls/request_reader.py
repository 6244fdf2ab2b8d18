"""Reads requests: the bytes of a user, to inputs and the compiled program that takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from jaxfs.arrays.array_refs import ArrayRef
from jaxfs.arrays.bindings import (
    BoundInput,
    bound_inputs,
    decode_inputs,
    infer_params,
    parameter_names,
)
from jaxfs.arrays.inputs import Request
from jaxfs.arrays.run_inputs import RunInput, release_inputs
from jaxfs.calls.admission import Admission
from jaxfs.ipc.spool import Spool
from jaxfs.posix.credentials import Credentials, InodeAttr
from jaxfs.programs.commits import look_up
from jaxfs.programs.compiled import CompiledProgram, ProgramVersion
from jaxfs.programs.derived import Derivations
from jaxfs.programs.program import Program
from jaxfs.types.buffers import Parameter


class Find(Protocol):
    """Looks a reference up with the rights of a user, and of the owner of a program."""

    def __call__(self, path: str, caller: Credentials, binder: InodeAttr | None = None) -> ArrayRef:
        """Returns the arrays; raises NotFound, AccessDenied."""
        ...


class RequestReader:
    """Reads requests of a mount's users.

    Args:
        find: As ``Calls.find``.
        derivations: Makes specializations.
        admission: Has the memory of each user's engine.
    """

    def __init__(
        self,
        find: Find,
        derivations: Derivations,
        admission: Admission,
    ) -> None:
        self._find = find
        self._derivations = derivations
        self._admission = admission

    async def read(
        self, uid: int, caller: Credentials, program: Program, spool: Spool, fixed_format: str
    ) -> tuple[CompiledProgram, tuple[RunInput, ...]]:
        """Returns the inputs of one request, bound ones included, and what runs with them.

        A program without types of its own is specialized for the types of the request; the
        specialization is made if it is not there.

        Args:
            uid: The user the call belongs to.
            caller: The process that wrote the request; references are looked up with its rights.
            program: The program that is called.
            spool: The request.
            fixed_format: The name of its format, or empty to detect it.

        Raises:
            Invalid: The request does not fit the program.
            BrokenProgram: The program has no version that works.
            JaxfsError: What a reference, or making the specialization, raised.
        """
        current = await program.wait_compiled()

        request = await Request.of(spool, fixed_format, lambda path: self._find(path, caller), uid)
        bound: Mapping[int, BoundInput] = {}
        if program.inputs:
            bound = await look_up(lambda: self._bound(program, current, caller))
        pool, charge = self._admission.pool(uid), self._admission.charge_memory(uid)
        if isinstance(current, CompiledProgram):
            expected = current.signature.inputs
            return current, await decode_inputs(request, expected, bound, pool, charge)
        params = await infer_params(request, current, bound)
        types = tuple(param.aval for param in params)
        # decoded first, so that nothing is compiled for inputs that are refused
        inputs = await decode_inputs(request, params, bound, pool, charge)
        try:
            return await self._derivations.version_for(program, types), inputs
        except BaseException:
            release_inputs(inputs)
            raise

    def free_params(
        self, program: Program, compiled: CompiledProgram, caller: Credentials
    ) -> Sequence[Parameter]:
        """Returns the parameters that a request has to bring: those that are not bound.

        Raises:
            Invalid: A binding does not fit.
            JaxfsError: What looking a binding up raised.
        """
        params = compiled.signature.inputs
        if not program.inputs:
            return params
        bound = self._bound(program, compiled, caller)
        return [param for number, param in enumerate(params) if number not in bound]

    def _bound(
        self, program: Program, current: ProgramVersion, caller: Credentials
    ) -> Mapping[int, BoundInput]:
        """Returns the bound inputs that the caller and the program's owner may both read.

        The owner gets no data of a caller by binding an input to it.

        Raises:
            JaxfsError: As ``bound_inputs``.
        """

        def find(path: str) -> ArrayRef:
            return self._find(path, caller, program.attr)

        return bound_inputs(program, parameter_names(current), find)
