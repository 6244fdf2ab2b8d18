"""Source -> artifact: the one way a program comes in.

Whatever the user wrote becomes a checked module in normal form, its portable artifact, its text
and its signature.  StableHLO without transformations goes straight there; all else is a Python
function first, which JAX traces.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import msgspec

from jaxfs.compiler.job_protocol import Trace, Traced, UntypedProgram
from jaxfs.compiler.jobs.imported import import_program
from jaxfs.compiler.jobs.lower import lower
from jaxfs.compiler.sources.detect import ParsedSource, detect
from jaxfs.compiler.sources.jit_options import FunctionOptions
from jaxfs.compiler.sources.pickle import read_pickle
from jaxfs.compiler.sources.stablehlo import read_module, utf8_names_only
from jaxfs.compiler.traceable import Traceable, has_64_bits
from jaxfs.compiler.transforms.apply import transform
from jaxfs.compiler.transforms.error_advice import with_advice
from jaxfs.compiler.user_errors import as_user_error
from jaxfs.errors import AccessDenied, Invalid
from jaxfs.stablehlo.module.canonicalize import artifact, normalise
from jaxfs.stablehlo.module.partitions import partition_count


class Artifact(msgspec.Struct, frozen=True):
    """What a trace hands back."""

    traced: Traced
    data: bytes
    text: bytes


def trace(context: Any, source: bytes, work: Trace) -> Artifact | UntypedProgram:
    """Raises Invalid for what is no program, or none jaxfs runs; NotSupported for a transformation
    that cannot be done to it."""
    kind = detect(source)
    with utf8_names_only():
        if kind == "pickle" or work.steps:
            program = _from_function(context, source, kind, work)
        else:
            program = read_module(context, source, kind, work.platform, work.types)
        return program if isinstance(program, UntypedProgram) else _artifact(program)


def _artifact(program: ParsedSource) -> Artifact:
    with program.module.context:
        normalise(program.module)
        text = str(program.module).encode()
        data = artifact(program.module)
        count = partition_count(program.module)
    traced = Traced(program.source_format, program.signature, program.platforms, count)
    return Artifact(traced, data, text)


def _from_function(
    context: Any, source: bytes, kind: str, work: Trace
) -> ParsedSource | UntypedProgram:
    """The program as a Python function, transformed and traced."""
    program, is_wide = _function(context, source, kind, work)
    with _computing(is_wide):
        program = transform(program, work.steps)
    if program.args is None and work.types is None:
        return UntypedProgram(
            program.source_format, program.names(), program.reason, program.inputs
        )
    if work.types is not None:
        program = program.with_types(work.types)
    with with_advice():
        return lower(program, work.platform, wide=is_wide)


def _function(context: Any, source: bytes, kind: str, work: Trace) -> tuple[Traceable, bool]:
    """The program before its transformations, and whether JAX is to compute with 64 bits.

    A pickled function gets the JAX its author had: with 64 bits only if its inputs have them.
    StableHLO says the width of every value.
    """
    if kind != "pickle":
        return import_program(context, source, kind, work.platform), True
    if not work.takes_pickles:
        raise AccessDenied("pickled functions are not taken here; export it with jax.export")
    options = FunctionOptions.parse(work.options)
    if options.platforms and work.platform not in options.platforms:
        here = " ".join(options.platforms)
        raise Invalid(f"the option platforms is {here}, and the device is {work.platform}")
    program = transform(read_pickle(source, options), options.steps)
    if options.enable_x64 is not None:
        return program, options.enable_x64
    return program, has_64_bits(program.args, work.types or ())


@contextmanager
def _computing(is_wide: bool) -> Iterator[None]:
    with with_advice(), jax.enable_x64(is_wide), as_user_error():
        yield
