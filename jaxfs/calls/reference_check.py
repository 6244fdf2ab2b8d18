"""How much a program's outputs differ from what StableHLO defines them to be.

The same inputs go to the device and to StableHLO's reference interpreter; the largest difference
of each output is reported.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import trio

from jaxfs.arrays.run_inputs import RunInput, release_inputs
from jaxfs.calls.call import release_outcome, typed_outputs
from jaxfs.calls.call_registry import Calls
from jaxfs.compiler.compiler_interface import Compiler
from jaxfs.engine.interface import Outcome, Range
from jaxfs.errors import Invalid, RunFailed
from jaxfs.ipc.spool import Spool
from jaxfs.posix.credentials import Credentials
from jaxfs.programs.compiled import CompiledProgram
from jaxfs.programs.program import Program, root_of
from jaxfs.types.buffers import TypedBuffer

RANDOM = b"random"
MAX_BYTES = 64 << 20  # of inputs; the interpreter is slow


async def check(
    intact: Callable[[CompiledProgram, Path], Awaitable[Path]],
    calls: Calls,
    compiler: Compiler,
    program: Program,
    caller: Credentials,
    spool: Spool,
) -> str:
    """Returns ``out.0 name=... max_abs_difference=...`` for each output, a line each.

    Args:
        intact: Returns a file of a version, made again if it is damaged.
        calls: The calls of the mount.
        compiler: Runs the reference interpreter.
        program: The program to check.
        caller: The process that asks for it.
        spool: Inputs as for a call, or the word ``random``.

    Raises:
        NotSupported: The interpreter cannot run the program.
        JaxfsError: What a call raises.
    """
    if spool.read(0, 16).strip() == RANDOM:
        compiled, inputs = await _random_inputs(program)
    else:
        compiled, inputs = await calls.requests.read(caller.uid, caller, program, spool, "")
    try:
        _check_size(inputs)
        data = await trio.to_thread.run_sync(lambda: b"".join(map(_bytes_of, inputs)))
    except BaseException:
        release_inputs(inputs)
        raise
    outcome = await _run(calls, caller.uid, compiled, inputs)
    try:
        artifact = (await intact(compiled, compiled.artifact_path)).read_bytes()
        owner = root_of(program).attr
        expected = await compiler.interpret(
            artifact, data, compiled.signature, user=(owner.uid, owner.gid)
        )
        outputs = typed_outputs(compiled, outcome)
        return await trio.to_thread.run_sync(_compare, compiled, outputs, expected)
    finally:
        release_outcome(outcome)


def _check_size(inputs: tuple[RunInput, ...]) -> None:
    """Checks the inputs before they are copied.

    Raises:
        Invalid: They are too long for the interpreter.
    """
    nbytes = sum(value.nbytes for value in inputs if isinstance(value, Range))
    nbytes += sum(len(value) for value in inputs if isinstance(value, bytes))
    if nbytes > MAX_BYTES:
        raise Invalid(f"{nbytes} bytes of inputs; the interpreter takes {MAX_BYTES} at most")


def _bytes_of(value: RunInput) -> bytes:
    """Returns a copy of the bytes of an input.

    Raises:
        Invalid: It is the output of a run that has not ended.
    """
    if isinstance(value, Range):
        return value.segment.read(value.offset, value.nbytes)
    if not isinstance(value, bytes):
        raise Invalid("an input is not there yet; wait for the result it comes from")
    return value


async def _random_inputs(program: Program) -> tuple[CompiledProgram, tuple[RunInput, ...]]:
    """Returns inputs of moderate size, which most programs are defined for."""
    current = await program.wait_compiled()
    if not isinstance(current, CompiledProgram):
        raise Invalid(f"{program.path} has no types of its own; write inputs instead of random")
    random, inputs = np.random.default_rng(0), list[RunInput]()
    numbers: np.ndarray[Any, Any]
    for aval in current.signature.input_avals:
        if aval.dtype[0] in "fbc" and aval.dtype != "bool":
            numbers = random.standard_normal(aval.shape)
        else:
            numbers = random.integers(0, 2, aval.shape)
        inputs.append(np.asarray(numbers).astype(aval.row.numpy).tobytes())
    return current, tuple(inputs)


async def _run(
    calls: Calls, uid: int, compiled: CompiledProgram, inputs: tuple[RunInput, ...]
) -> Outcome:
    """Returns the outcome of one run, which the caller releases.

    Raises:
        RunFailed: The run failed; the reason is that of its error.
    """
    ended, outcomes = trio.Event(), list[Outcome]()

    def done(outcome: Outcome) -> None:
        outcomes.append(outcome)
        ended.set()

    run = calls.admission.run(uid, compiled, inputs, done)
    try:
        await ended.wait()
    except BaseException:
        calls.admission.scheduler(uid).abandon([run])
        raise
    (outcome,) = outcomes
    if outcome.error is not None:
        raise RunFailed(outcome.error.reason, outcome.error.diagnostics)
    return outcome


def _compare(compiled: CompiledProgram, found: Sequence[TypedBuffer], expected: bytes) -> str:
    lines, offset = [], 0
    for number, (param, buffer) in enumerate(zip(compiled.signature.outputs, found, strict=True)):
        reference = np.frombuffer(expected, param.aval.row.numpy, param.aval.size, offset)
        offset += param.aval.nbytes
        difference, largest = _difference(buffer.array().reshape(-1), reference)
        lines.append(
            f"out.{number} name={param.name} max_abs_difference={difference:.6g} "
            f"max_abs_value={largest:.6g}\n"
        )
    return "".join(lines)


def _difference(
    found: np.ndarray[Any, Any], reference: np.ndarray[Any, Any]
) -> tuple[float, float]:
    """Returns the largest difference, and the largest finite value of the reference.

    Equal infinities and NaNs do not differ.
    """
    wide = np.complex128 if found.dtype.kind == "c" else np.float64
    ours, theirs = found.astype(wide), reference.astype(wide)
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    with np.errstate(all="ignore"):
        differences = np.where(same, 0, np.abs(ours - theirs))
    largest = np.abs(theirs[np.isfinite(theirs)])
    return float(np.max(differences, initial=0)), float(np.max(largest, initial=0))
