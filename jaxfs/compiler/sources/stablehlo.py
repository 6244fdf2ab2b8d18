"""Parses StableHLO, in any of its formats, to a validated module."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from jaxlib.mlir import ir

from jaxfs.compiler.job_protocol import UntypedProgram
from jaxfs.compiler.sources import dynamic_shapes, jax_export
from jaxfs.compiler.sources.detect import ParsedSource, Types, decode_text
from jaxfs.errors import Invalid
from jaxfs.stablehlo.module.argument_names import argument_names
from jaxfs.stablehlo.module.canonicalize import settle_placement
from jaxfs.stablehlo.module.entry_function import (
    call_entry_main,
    find_main,
    read_names,
    read_signature,
)
from jaxfs.stablehlo.module.exporter_forms import read_exporter_forms
from jaxfs.stablehlo.module.parse import parse_bytecode, parse_text
from jaxfs.stablehlo.validate.module import check_module
from jaxfs.types.partial_avals import as_partial, check_types

# takes the MLIR context, the source, the platform, and the types of the inputs
Reader = Callable[[ir.Context, bytes, str, Types], ParsedSource | UntypedProgram]


def read_module(
    context: ir.Context, source: bytes, source_format: str, platform: str, types: Types = None
) -> ParsedSource | UntypedProgram:
    """Returns the program in a source of any format but pickle, for one platform.

    Args:
        context: An MLIR context.
        source: The bytes that the user wrote.
        source_format: As ``detect`` finds it.
        platform: Where the program is to run, as JAX calls it (``cpu``, ``gpu``).
        types: The types of all inputs, which fix dynamic sizes, if the call has them.

    Returns:
        The program, or an UntypedProgram if it has dynamic sizes and there are no ``types``.

    Raises:
        Invalid: It is no program, not one that jaxfs runs, or does not take ``types``.
    """
    with context:
        program = _READERS[source_format](context, source, platform, types)
    if isinstance(program, ParsedSource) and types is not None:
        names = [param.name for param in program.signature.inputs]
        check_types(names, tuple(map(as_partial, program.signature.input_avals)), types)
    return program


@contextmanager
def utf8_names_only() -> Iterator[None]:
    """Replaces the error of MLIR's Python bindings for a name that is not UTF-8.

    Names in bytecode may be any bytes.

    Raises:
        Invalid: The block met such a name.
    """
    try:
        yield
    except RuntimeError as error:
        if "conversion error" not in str(error):
            raise
        raise Invalid("not a program: a name in it is not UTF-8") from None


def _read_text(
    context: ir.Context, source: bytes, _platform: str, types: Types
) -> ParsedSource | UntypedProgram:
    text = decode_text(source)
    module = parse_text(context, text)
    return _checked(module, "stablehlo_text", types, text)


def _read_bytecode(
    context: ir.Context, source: bytes, _platform: str, types: Types
) -> ParsedSource | UntypedProgram:
    return _checked(parse_bytecode(context, source, "MLIR bytecode"), "mlir_bytecode", types)


def _read_portable(
    context: ir.Context, source: bytes, _platform: str, types: Types
) -> ParsedSource | UntypedProgram:
    module = parse_bytecode(context, source, "a StableHLO portable artifact")
    return _checked(module, "portable_artifact", types)


def _checked(
    module: Any, source_format: str, types: Types, text: str = ""
) -> ParsedSource | UntypedProgram:
    """Validates a module, whose dynamic sizes ``types`` fix; its text has names of arguments."""
    names: Sequence[str] = argument_names(text, call_entry_main(module))
    read_exporter_forms(module)
    settle_placement(module)
    main = find_main(module)
    if dynamic_shapes.is_dynamic(main):
        names, inputs = read_names(main, names), dynamic_shapes.argument_types(main)
        if types is None:
            return dynamic_shapes.untyped_program(source_format, names, inputs)
        check_types(names, inputs, types)
        module = dynamic_shapes.refine(module, types)
    # before the other checks, because these errors name the argument
    signature = read_signature(find_main(module), names)
    check_module(module)
    return ParsedSource(module, signature, source_format)


_READERS: dict[str, Reader] = {
    "stablehlo_text": _read_text,
    "mlir_bytecode": _read_bytecode,
    "portable_artifact": _read_portable,
    "jax_export": jax_export.read_program,
}
