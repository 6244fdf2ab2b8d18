"""StableHLO in any of its forms -> a checked module."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from jaxfs.compiler.job_protocol import UntypedProgram
from jaxfs.compiler.sources import dynamic_shapes, jax_export
from jaxfs.compiler.sources.detect import ParsedSource, Reader, Types, decode_text
from jaxfs.errors import Invalid
from jaxfs.stablehlo.module.argument_names import argument_names
from jaxfs.stablehlo.module.canonicalize import settle_placement
from jaxfs.stablehlo.module.entry_function import find_main, read_names, read_signature
from jaxfs.stablehlo.module.parse import parse_bytecode, parse_text
from jaxfs.stablehlo.validate.module import check_module
from jaxfs.types.avals import Aval
from jaxfs.types.partial_avals import as_partial, check_types


def read_module(
    context: Any, source: bytes, kind: str, platform: str, types: Types = None
) -> ParsedSource | UntypedProgram:
    """The program in a source that is no pickle, for one platform.

    ``types`` of all inputs fix its dynamic sizes; Untyped where it has some and there are none.
    Raises Invalid.
    """
    with context:
        program = _READERS[kind](context, source, platform, types)
    if isinstance(program, ParsedSource) and types is not None:
        _check_types(program, types)
    return program


def _check_types(program: ParsedSource, types: Sequence[Aval]) -> None:
    """The types of a call, where the program has its own."""
    names = [param.name for param in program.signature.inputs]
    check_types(names, tuple(map(as_partial, program.signature.input_avals)), types)


@contextmanager
def utf8_names_only() -> Iterator[None]:
    """Names in bytecode may be any bytes; Python's bindings fail on those that are not UTF-8."""
    try:
        yield
    except RuntimeError as error:
        if "conversion error" not in str(error):
            raise
        raise Invalid("not a program: a name in it is not UTF-8") from None


def _read_text(
    context: Any, source: bytes, platform: str, types: Types
) -> ParsedSource | UntypedProgram:
    text = decode_text(source)
    module = parse_text(context, text)
    return _checked(module, "stablehlo_text", types, argument_names(text))


def _read_bytecode(
    context: Any, source: bytes, platform: str, types: Types
) -> ParsedSource | UntypedProgram:
    return _checked(parse_bytecode(context, source, "MLIR bytecode"), "mlir_bytecode", types)


def _read_portable(
    context: Any, source: bytes, platform: str, types: Types
) -> ParsedSource | UntypedProgram:
    module = parse_bytecode(context, source, "a StableHLO portable artifact")
    return _checked(module, "portable_artifact", types)


def _checked(
    module: Any, source_format: str, types: Types, names: Sequence[str] = ()
) -> ParsedSource | UntypedProgram:
    settle_placement(module)
    main = find_main(module)
    if dynamic_shapes.is_dynamic(main):
        names, inputs = read_names(main, names), dynamic_shapes.argument_types(main)
        if types is None:
            return dynamic_shapes.untyped_program(source_format, names, inputs)
        check_types(names, inputs, types)
        module = dynamic_shapes.refine(module, types)
    # before the other checks, because its errors name the argument
    signature = read_signature(find_main(module), names)
    check_module(module)
    return ParsedSource(module, signature, source_format)


_READERS: dict[str, Reader] = {
    "stablehlo_text": _read_text,
    "mlir_bytecode": _read_bytecode,
    "portable_artifact": _read_portable,
    "jax_export": jax_export.read_program,
}
