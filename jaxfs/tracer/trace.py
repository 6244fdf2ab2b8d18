"""Source -> artifact: the one way a program comes in.

Whatever the user wrote becomes a checked module in normal form, its portable artifact, its text
and its signature.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from jaxfs.errors import Invalid
from jaxfs.stablehlo.checks import check_main, check_module
from jaxfs.stablehlo.main_function import read_signature
from jaxfs.stablehlo.names import argument_names
from jaxfs.stablehlo.normal_form import artifact, drop_placement, normalise
from jaxfs.stablehlo.parse import parse_bytecode, parse_text
from jaxfs.tracer import exported
from jaxfs.tracer.protocol import Traced
from jaxfs.tracer.source import Program, Reader, decode_text, detect


class Artifact(msgspec.Struct, frozen=True):
    """What a trace hands back."""

    traced: Traced
    data: bytes
    text: bytes


def trace(context: Any, source: bytes, platform: str) -> Artifact:
    """Raises Invalid for what is no program, or none jaxfs runs."""
    read = _READERS[detect(source)]
    with _only_text(), context:
        program = read(context, source, platform)
        normalise(program.module)
        text = str(program.module).encode()
        data = artifact(program.module)
    return Artifact(Traced(program.source_format, program.signature, program.platforms), data, text)


@contextmanager
def _only_text() -> Iterator[None]:
    """Names in bytecode may be any bytes; Python's bindings fail on those that are not UTF-8."""
    try:
        yield
    except RuntimeError as error:
        if "conversion error" not in str(error):
            raise
        raise Invalid("not a program: a name in it is not UTF-8") from None


def _read_text(context: Any, source: bytes, platform: str) -> Program:
    text = decode_text(source)
    return _checked(parse_text(context, text), "stablehlo_text", argument_names(text))


def _read_bytecode(context: Any, source: bytes, platform: str) -> Program:
    return _checked(parse_bytecode(context, source, "MLIR bytecode"), "mlir_bytecode")


def _read_portable(context: Any, source: bytes, platform: str) -> Program:
    module = parse_bytecode(context, source, "a StableHLO portable artifact")
    return _checked(module, "portable_artifact")


def _checked(module: Any, source_format: str, names: list[str] | None = None) -> Program:
    with module.context:
        drop_placement(module)
        # before the other checks, because its errors name the argument
        signature = read_signature(check_main(module), names or ())
        check_module(module)
    return Program(module, signature, source_format)


_READERS: dict[str, Reader] = {
    "stablehlo_text": _read_text,
    "mlir_bytecode": _read_bytecode,
    "portable_artifact": _read_portable,
    "jax_export": exported.read_program,
}
