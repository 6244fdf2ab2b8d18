"""Parsing of text and bytecode into an MLIR module, with errors that name line and cause."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

from jaxfs.errors import Invalid
from jaxfs.stablehlo.module.foreign_attributes import (
    drop_foreign_attributes,
    is_about_unregistered,
)
from jaxfs.stablehlo.module.nesting import check_nesting
from jaxfs.stablehlo.module.walk import at_line

_ERROR = re.compile(r'error: (?:"-":(?P<line>\d+):(?P<column>\d+)|[^:]*): (?P<message>[^\n]*)')
_ADVICE = re.compile(r"\. If this is intended.*")  # for authors of MLIR tools
_NO_DIALECT = re.compile(r"Dialect `[^']*' not found for custom op '([^']*)'.*")
_SPLIT = re.compile(r"^\s*//\s*-----", re.MULTILINE)  # between the parts of MLIR's test files
_NO_MLIR = re.compile(r"custom op '([^']*)' is unknown \(tried 'builtin\..*")


@contextmanager
def collected_diagnostics(context: Any) -> Iterator[list[str]]:
    """Collects what MLIR reports in a list, instead of on stderr."""
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
    """Returns the module of StableHLO text, verified.

    Raises:
        Invalid: The text is no program; the message has the line, the details its source.
    """
    check_nesting(text)
    try:
        return ir.Module.parse(text, context)
    except ir.MLIRError as error:
        report = str(error)
    if not is_about_unregistered(report):
        raise _text_error(report, text)
    with _unregistered_allowed(context):
        try:
            module = ir.Module.parse(text, context)
        except ir.MLIRError as error:
            raise _text_error(str(error), text) from None
        with context:
            drop_foreign_attributes(module)
    verify(context, module)
    return module


@contextmanager
def _unregistered_allowed(context: Any) -> Iterator[None]:
    """Lets the block read attributes, types and operations of dialects that nothing registers."""
    context.allow_unregistered_dialects = True
    try:
        yield
    finally:
        context.allow_unregistered_dialects = False


def _text_error(report: str, text: str) -> Invalid:
    match = _ERROR.search(report)
    if parts := len(_SPLIT.findall(text)):
        reason = f'the file holds {parts + 1} programs, split by "// -----"; write them one by one'
        return Invalid(reason, report)
    if match is None:
        return Invalid(f"not a program: {report.splitlines()[0]}", report)
    original = _NO_DIALECT.sub(r"\1 is no StableHLO operation", _ADVICE.sub("", match["message"]))
    message = _NO_MLIR.sub(r"expected a StableHLO module, found '\1'", original)
    reason = message if message == original else f"not a program: {message}"
    if match["line"] is None:
        return Invalid(reason, report)
    number, column = int(match["line"]), int(match["column"])
    return Invalid(f"line {number}: {reason}", f"{_marked(text, number, column)}\n\n{report}")


def _marked(text: str, number: int, column: int) -> str:
    """Returns a line of the text with a mark under the column."""
    line = [*text.splitlines(), ""][number - 1][:500]
    return f"{line}\n{' ' * (column - 1)}^" if column <= len(line) + 1 else line


def parse_bytecode(context: Any, data: bytes, what: str) -> Any:
    """Returns the module of MLIR bytecode or of a portable artifact, verified.

    Raises:
        Invalid: The bytes are cut off or damaged; the message calls them ``what``.
    """
    with collected_diagnostics(context) as diagnostics:
        try:
            module = stablehlo.deserialize_portable_artifact(context, data)
        except ValueError as error:
            module, found = None, diagnostics or [str(error)]
    if module is None and any(map(is_about_unregistered, found)):
        module = _read_with_unregistered(context, data)
    if module is None:
        raise Invalid(
            f"not a program: {what} that is cut off or damaged: {found[0]}", "\n".join(found)
        )
    verify(context, module)
    return module


def _read_with_unregistered(context: Any, data: bytes) -> Any | None:
    """Returns the module of bytecode with attributes of other tools, None if it is damaged too."""
    with _unregistered_allowed(context), collected_diagnostics(context):
        try:
            module = stablehlo.deserialize_portable_artifact(context, data)
        except ValueError:
            return None
        with context:
            drop_foreign_attributes(module)
    return module


def verify(context: Any, module: Any) -> None:
    """Checks that the module obeys the rules of its operations.

    Raises:
        Invalid: It breaks one; the message has MLIR's reason.
    """
    with collected_diagnostics(context) as diagnostics:
        try:
            module.operation.verify()
        except ir.MLIRError as error:
            report = str(error)
            match = _ERROR.search(report)
            reason = match["message"] if match else report.splitlines()[0]
            raise Invalid(reason, report) from None
    if diagnostics:
        raise Invalid(diagnostics[0], "\n".join(diagnostics))
