"""Compiles an artifact to an executable; in a job, because XLA may crash or never end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import msgspec
from jaxlib.mlir import ir

from jaxfs.compiler.job_protocol import Compile, Compiled
from jaxfs.compiler.jobs.imported import import_program
from jaxfs.compiler.jobs.lower import lower
from jaxfs.errors import Invalid, NoDevice, RunFailed
from jaxfs.jaxcompat import executables, topologies
from jaxfs.jaxcompat.mlir import make_context
from jaxfs.stablehlo.module.entry_function import find_main, read_signature
from jaxfs.stablehlo.module.parse import parse_bytecode
from jaxfs.stablehlo.module.partitions import partition_count
from jaxfs.stablehlo.validate.module import check_module, check_platform
from jaxfs.types.xla_errors import compile_error


class CompiledFiles(msgspec.Struct, frozen=True):
    """The result of a compilation.

    Attributes:
        compiled: The reply.
        data: The serialized executable.
        hlo: The text of its HLO modules, after optimization.
    """

    compiled: Compiled
    data: bytes
    hlo: bytes


def compile_artifact(context: ir.Context, artifact: bytes, work: Compile) -> CompiledFiles:
    """Returns the executable of an artifact for the devices of ``work``.

    The cost and memory of a program for several devices are those on one of them.

    Raises:
        Invalid: The artifact is damaged, or XLA refuses it; with XLA's message.
        NoSpace: XLA ran out of memory.
        NoDevice: There is no such device.
    """
    devices = _devices(work)
    module = parse_bytecode(context, artifact, "an artifact")
    with context:
        _check_again(module, work)
        start = time.monotonic_ns()
        executable = _compile(module, work, devices, lambda: _expanded(artifact, work))
        compile_usec = (time.monotonic_ns() - start) // 1000
    raw = executables.xla_executable(executable)
    return CompiledFiles(
        Compiled(compile_usec, executables.cost_figures(raw), executables.memory_figures(raw)),
        executables.serialize(executable),
        "\n\n".join(module.to_string() for module in raw.hlo_modules()).encode(),
    )


def _check_again(module: Any, work: Compile) -> None:
    """Checks that the artifact is valid and has the signature of ``work``.

    The process that made it may have run its user's code.  An executable reads as many bytes as its
    module has types for, and writes into the inputs that its module donates, whatever the signature
    is.

    Raises:
        Invalid: It is not, or has another signature.
    """
    check_module(module)
    check_platform(module, work.target.platform)
    found, expected = read_signature(find_main(module)), work.signature
    types = (expected.input_avals, expected.output_avals)
    if (
        (found.input_avals, found.output_avals) != types
        or any(
            ours.donated > theirs.donated
            for ours, theirs in zip(found.inputs, expected.inputs, strict=True)
        )
        or partition_count(module) != len(work.device_ids)
    ):
        raise Invalid("the artifact and its signature do not agree; write the program again")


def _devices(work: Compile) -> list[jax.Device]:
    found = {device.id: device for device in _all_devices(work)}
    for number in work.device_ids:
        if number not in found:
            raise NoDevice(f"there is no device {work.target.platform}:{number}, only {len(found)}")
    return [found[number] for number in work.device_ids]


def _all_devices(work: Compile) -> Sequence[jax.Device]:
    """Returns this process's CPU devices, or GPUs that only the compiler knows.

    Raises:
        Invalid: The platform needs a device to compile for it.
        RunFailed: Its compiler is not installed, or does not start.
    """
    target = work.target
    if target.platform == "cpu":
        return executables.use_cpu(work.device_count)
    if not target.needs_no_device:
        raise Invalid(f"programs for {target.platform} are compiled by the engine itself")
    try:
        return topologies.devices_of(target, work.device_count)
    except (NotImplementedError, RuntimeError) as error:  # JAX's own errors are of these
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RunFailed(
            f"XLA cannot compile for {target.platform} without its device: {first}; mount with "
            "-o compile=engine",
            str(error),
        ) from error


def _compile(
    module: Any, work: Compile, devices: list[jax.Device], expand: Callable[[], Any]
) -> Any:
    """Compiles a module, or what ``expand`` returns if XLA does not take its operations."""
    try:
        return executables.compile_module(module, work.signature, devices)
    except jax.errors.JaxRuntimeError as error:
        refused = compile_error(str(error))
    except AssertionError:  # of jax, without a message
        raise Invalid(
            "an input or output of @main is spread so that there is no whole array (manual)"
        ) from None
    if len(devices) > 1 or not isinstance(refused, Invalid):
        raise refused
    try:
        return executables.compile_module(expand(), work.signature, devices)
    except Exception:  # the first reason is the user's program, this one may be ours
        raise refused from None


def _expanded(artifact: bytes, work: Compile) -> Any:
    """Returns the module of an artifact as JAX lowers it: of operations that XLA compiles here.

    XLA has no code for some operations, as ``ragged_dot`` on CPUs and ``cbrt`` of complex numbers.

    Raises:
        Invalid: It has another signature, or JAX does not lower it.
    """
    platform = work.target.platform
    program = import_program(make_context(), artifact, "portable_artifact", platform)
    lowered = lower(program, platform, wide=True)
    found, expected = lowered.signature, work.signature
    types = (expected.input_avals, expected.output_avals)
    if (found.input_avals, found.output_avals) != types:
        raise Invalid("the program was lowered to other types")
    return lowered.module
