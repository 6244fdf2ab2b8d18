"""How far a program is from what StableHLO says it computes.

The same inputs go to the device and to the reference interpreter; told is the largest difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import trio

from jaxfs.arrays.run_inputs import RunInput, release_inputs
from jaxfs.calls.call import release, typed_outputs
from jaxfs.calls.call_registry import Calls
from jaxfs.compiler.compiler_interface import Compiler
from jaxfs.engine.interface import Outcome, Range
from jaxfs.errors import Invalid, RunFailed
from jaxfs.ipc.spool import Spool
from jaxfs.posix.credentials import Credentials
from jaxfs.programs.compiled import CompiledProgram
from jaxfs.programs.program import Program, root_of
from jaxfs.types.avals import Aval
from jaxfs.types.buffers import TypedBuffer

RANDOM = b"random"
MAX_BYTES = 64 << 20  # of inputs; the interpreter is slow


async def check(
    calls: Calls, compiler: Compiler, program: Program, caller: Credentials, spool: Spool
) -> str:
    """``out.0 name=... max_abs_difference=...`` for each output, a line each.

    ``spool`` holds inputs as for a call, or the word random.  Raises what a call raises, and
    NotSupported for what the interpreter cannot run.
    """
    if spool.read(0, 16).strip() == RANDOM:
        version, inputs = await _random(program)
    else:
        version, inputs = await calls.read(caller.uid, caller, program, spool, "")
    try:
        given = b"".join(map(_bytes_of, inputs))
    except Invalid:
        release_inputs(inputs)
        raise
    if len(given) > MAX_BYTES:
        release_inputs(inputs)
        raise Invalid(f"{len(given)} bytes of inputs; the interpreter is given {MAX_BYTES} at most")
    outcome = await _run(calls, caller.uid, version, inputs)
    try:
        expected = await _interpret(compiler, version, program, given)
        return await trio.to_thread.run_sync(
            _compare, version, typed_outputs(version, outcome), expected
        )
    finally:
        release(outcome)


def _bytes_of(value: RunInput) -> bytes:
    if isinstance(value, Range):
        return value.segment.read(value.offset, value.nbytes)
    if not isinstance(value, bytes):
        raise Invalid("an input is not there yet; wait for the result it comes from")
    return value


async def _random(program: Program) -> tuple[CompiledProgram, tuple[RunInput, ...]]:
    served = await program.wait_compiled()
    if not isinstance(served, CompiledProgram):
        raise Invalid(f"{program.path} has no types of its own; write inputs instead of random")
    random = np.random.default_rng(0)
    arrays = [_draw(random, aval) for aval in served.signature.input_avals]
    return served, tuple(array.tobytes() for array in arrays)


def _draw(random: np.random.Generator, aval: Aval) -> np.ndarray[Any, Any]:
    """Moderate numbers, which no program should mind."""
    dtype = aval.row.numpy
    if aval.dtype[0] in "fbc" and aval.dtype != "bool":
        return np.asarray(random.standard_normal(aval.shape)).astype(dtype)
    return np.asarray(random.integers(0, 2, aval.shape)).astype(dtype)


async def _run(
    calls: Calls, uid: int, version: CompiledProgram, inputs: tuple[RunInput, ...]
) -> Outcome:
    ended, outcomes = trio.Event(), list[Outcome]()

    def done(outcome: Outcome) -> None:
        outcomes.append(outcome)
        ended.set()

    ticket = calls.run(uid, version, inputs, done)
    try:
        await ended.wait()
    except BaseException:
        calls.scheduler(uid).abandon([ticket])
        raise
    if outcomes[0].error is not None:
        raise RunFailed(outcomes[0].error.reason, outcomes[0].error.diagnostics)
    return outcomes[0]


async def _interpret(
    compiler: Compiler, version: CompiledProgram, program: Program, inputs: bytes
) -> bytes:
    artifact = (version.stablehlo_path.parent / "artifact").read_bytes()
    meta = root_of(program).attr
    return await compiler.interpret(artifact, inputs, version.signature, user=(meta.uid, meta.gid))


def _compare(version: CompiledProgram, found: Sequence[TypedBuffer], expected: bytes) -> str:
    lines, offset = [], 0
    for number, (param, buffer) in enumerate(zip(version.signature.outputs, found, strict=True)):
        right = np.frombuffer(expected, param.aval.row.numpy, param.aval.size, offset)
        offset += param.aval.nbytes
        difference, largest = _difference(buffer.array().reshape(-1), right)
        lines.append(
            f"out.{number} name={param.name} max_abs_difference={difference:.6g} "
            f"max_abs_value={largest:.6g}\n"
        )
    return "".join(lines)


def _difference(found: np.ndarray[Any, Any], right: np.ndarray[Any, Any]) -> tuple[float, float]:
    """The largest difference and the largest value; equal infinities and NaNs do not differ."""
    wide = np.complex128 if found.dtype.kind == "c" else np.float64
    ours, theirs = found.astype(wide), right.astype(wide)
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    with np.errstate(all="ignore"):
        differences = np.where(same, 0, np.abs(ours - theirs))
    largest = np.abs(theirs[np.isfinite(theirs)])
    return float(np.max(differences, initial=0)), float(np.max(largest, initial=0))
