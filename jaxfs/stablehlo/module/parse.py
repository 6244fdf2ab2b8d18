"""Bytes to an MLIR module, with errors a person can act on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

from jaxfs.errors import Invalid
from jaxfs.stablehlo.module.nesting import check_nesting
from jaxfs.stablehlo.module.walk import at_line

_ERROR = re.compile(r'error: (?:"-":(?P<line>\d+):(?P<column>\d+)|[^:]*): (?P<message>[^\n]*)')
_ADVICE = re.compile(r"\. If this is intended.*")  # is for those who write MLIR tools
_NO_MLIR = re.compile(r"custom op '([^']*)' is unknown \(tried 'builtin\..*")


@contextmanager
def collected_diagnostics(context: Any) -> Iterator[list[str]]:
    """What MLIR reports meanwhile, in a list instead of on stderr."""
    lines: list[str] = []

    def note(diagnostic: Any) -> bool:
        lines.append(at_line(diagnostic.location) + diagnostic.message)
        return True

    handler = context.attach_diagnostic_handler(note)
    try:
        yield lines
    finally:
        handler.detach()


def parse_text(context: Any, text: str) -> Any:
    """Parse and verify StableHLO text.  Raises Invalid with the line and its source."""
    check_nesting(text)
    try:
        return ir.Module.parse(text, context)
    except ir.MLIRError as error:
        raise _text_error(str(error), text) from None


def _text_error(words: str, text: str) -> Invalid:
    match = _ERROR.search(words)
    if match is None:
        return Invalid(f"not a program: {words.splitlines()[0]}", words)
    told = _ADVICE.sub("", match["message"])
    message = _NO_MLIR.sub(r"expected a StableHLO module, found '\1'", told)
    reason = message if message == told else f"not a program: {message}"
    if match["line"] is None:
        return Invalid(reason, words)
    number, column = int(match["line"]), int(match["column"])
    return Invalid(f"line {number}: {reason}", f"{_shown(text, number, column)}\n\n{words}")


def _shown(text: str, number: int, column: int) -> str:
    """The source line with a mark under the column."""
    line = [*text.splitlines(), ""][number - 1][:500]
    return f"{line}\n{' ' * (column - 1)}^" if column <= len(line) + 1 else line


def parse_bytecode(context: Any, data: bytes, what: str) -> Any:
    """Read MLIR bytecode or a portable artifact, and verify it.  Raises Invalid."""
    with collected_diagnostics(context) as diagnostics:
        try:
            module = stablehlo.deserialize_portable_artifact(context, data)
        except ValueError as error:
            found = diagnostics or [str(error)]
            raise Invalid(
                f"not a program: {what} that is cut off or damaged: {found[0]}", "\n".join(found)
            ) from None
    verify(context, module)
    return module


def verify(context: Any, module: Any) -> None:
    """Raise Invalid where the module breaks a rule of its operations."""
    with collected_diagnostics(context) as diagnostics:
        try:
            module.operation.verify()
        except ir.MLIRError as error:
            raise Invalid(_first_message(str(error)), str(error)) from None
    if diagnostics:
        raise Invalid(diagnostics[0], "\n".join(diagnostics))


def _first_message(words: str) -> str:
    match = _ERROR.search(words)
    return match["message"] if match else words.splitlines()[0]
