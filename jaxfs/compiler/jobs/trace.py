"""Turns a source into an artifact; every program comes in this way.

The source becomes a validated module in normal form: a portable artifact, a text and a signature.
StableHLO without transformations is parsed; all else becomes a Python function, which JAX traces.
"""

from __future__ import annotations

import jax
import msgspec
from jaxlib.mlir import ir

from jaxfs.compiler.job_protocol import Trace, Traced, UntypedProgram
from jaxfs.compiler.jobs.imported import import_program
from jaxfs.compiler.jobs.lower import lower
from jaxfs.compiler.sources.detect import ParsedSource, detect
from jaxfs.compiler.sources.jit_options import FunctionOptions
from jaxfs.compiler.sources.pickle import read_pickle
from jaxfs.compiler.sources.stablehlo import read_module, utf8_names_only
from jaxfs.compiler.traceable import Traceable, has_64_bits
from jaxfs.compiler.transforms.apply import starts_in_reverse, transform
from jaxfs.compiler.transforms.error_advice import with_advice
from jaxfs.compiler.user_errors import as_user_error, errors_of_user_code
from jaxfs.errors import AccessDenied, Invalid
from jaxfs.stablehlo.expansions.composites import settle_composites
from jaxfs.stablehlo.module.canonicalize import NotStorable, artifact, normalise
from jaxfs.stablehlo.module.partitions import partition_count
from jaxfs.stablehlo.validate.module import check_platform
from jaxfs.types.compile_target import matching_name


class Artifact(msgspec.Struct, frozen=True):
    """The result of a trace.

    Attributes:
        traced: The reply.
        data: The StableHLO portable artifact.
        text: Its text.
    """

    traced: Traced
    data: bytes
    text: bytes


def trace(context: ir.Context, source: bytes, work: Trace) -> Artifact | UntypedProgram:
    """Returns the artifact of a source, or its parameters if its types come with the call.

    Raises:
        Invalid: The source is no program, or not one that jaxfs runs.
        NotSupported: A transformation is not possible for the program.
        AccessDenied: The source is a pickle, and none are taken.
    """
    source_format = detect(source)
    FunctionOptions.parse(work.options)  # unknown ones, also where they would have no effect
    with utf8_names_only():
        if source_format == "pickle" or work.steps:
            with errors_of_user_code():
                program = _from_function(context, source, source_format, work)
        else:
            program = read_module(context, source, source_format, work.platform, work.types)
        if isinstance(program, UntypedProgram):
            return program
        try:
            return _artifact(program, work.platform)
        except NotStorable:
            if source_format == "pickle" or work.steps:
                raise
        program = _from_function(context, source, source_format, work)  # of plain operations
        assert isinstance(program, ParsedSource)
        return _artifact(program, work.platform)


def _artifact(program: ParsedSource, platform: str) -> Artifact:
    """Returns the program in normal form.

    Raises:
        Invalid: It has native code of another platform.
    """
    with program.module.context:
        check_platform(program.module, platform)
        settle_composites(program.module)
        normalise(program.module)
        text = str(program.module).encode()
        data = artifact(program.module)
        count = partition_count(program.module)
    traced = Traced(program.source_format, program.signature, program.platforms, count)
    return Artifact(traced, data, text)


def _from_function(
    context: ir.Context, source: bytes, source_format: str, work: Trace
) -> ParsedSource | UntypedProgram:
    """Returns the program as a Python function, transformed and traced."""
    program, is_wide = _function(context, source, source_format, work)
    with with_advice(), jax.enable_x64(is_wide), as_user_error():
        program = transform(program, work.steps)
    if program.args is None and work.types is None:
        return UntypedProgram(
            program.source_format, program.names(), program.reason, program.inputs
        )
    if work.types is not None:
        program = program.with_types(work.types)
    with with_advice():
        return lower(program, work.platform, wide=is_wide)


def _function(
    context: ir.Context, source: bytes, source_format: str, work: Trace
) -> tuple[Traceable, bool]:
    """Returns the program before its transformations, and whether JAX computes with 64 bits.

    A pickled function gets the JAX that its author had: with 64 bits only if its inputs have them.
    In StableHLO every value has its width.
    """
    if source_format != "pickle":
        own_vjp = starts_in_reverse(work.steps)
        return import_program(context, source, source_format, work.platform, own_vjp=own_vjp), True
    if not work.takes_pickles:
        raise AccessDenied("pickled functions are not taken here; export it with jax.export")
    options = FunctionOptions.parse(work.options)
    if options.platforms and not matching_name(work.platform, options.platforms):
        here = " ".join(options.platforms)
        raise Invalid(f"the option platforms is {here}, and the device is {work.platform}")
    program = transform(read_pickle(source, options), options.steps)
    if options.enable_x64 is not None:
        return program, options.enable_x64
    return program, has_64_bits(program.args, work.types or ())
