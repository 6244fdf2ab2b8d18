"""Lengths of files and functions, in lines."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from docs.tools.style.measured import Measured, count, percent
from docs.tools.style.source import Code, Function, SourceFile

LONG_FILE = 400
SHORT_FILE = 60
LONG_FUNCTION = 30


def long_files(code: Code, package: str) -> Measured:
    """Returns the number of files of more than ``LONG_FILE`` lines."""
    found = [file for file in code.files_of(package) if file.line_count > LONG_FILE]
    return count(_file_lines(found))


def short_file_share(code: Code, package: str) -> Measured:
    """Returns the share of files below ``SHORT_FILE`` lines among those with more than a docstring.

    An ``__init__.py`` that holds only a docstring is the comment of a folder, not a file that could
    be merged with another one.
    """
    return _short_share([file for file in code.files_of(package) if file.has_substance])


def short_file_share_of_all(code: Code, package: str) -> Measured:
    """Returns the share of files below ``SHORT_FILE`` lines, each ``__init__.py`` included."""
    return _short_share(code.files_of(package))


def median_length(code: Code, package: str) -> Measured:
    """Returns the median length of functions, docstrings included."""
    return _median(code, package, lambda function: function.line_count)


def median_length_without_docstring(code: Code, package: str) -> Measured:
    """Returns the median length of functions, docstrings excluded."""
    return _median(code, package, lambda function: function.line_count_without_docstring)


def p90_length(code: Code, package: str) -> Measured:
    """Returns the length that 90 % of the functions do not exceed, docstrings included."""
    return _p90(code, package, lambda function: function.line_count)


def p90_length_without_docstring(code: Code, package: str) -> Measured:
    """Returns the length that 90 % of the functions do not exceed, docstrings excluded."""
    return _p90(code, package, lambda function: function.line_count_without_docstring)


def _short_share(files: list[SourceFile]) -> Measured:
    short = [file for file in files if file.line_count < SHORT_FILE]
    return percent(len(short), len(files), _file_lines(short))


def _file_lines(files: list[SourceFile]) -> list[str]:
    by_length = sorted(files, key=lambda file: (-file.line_count, file.name))
    return [f"{file.path}: {file.line_count} lines" for file in by_length]


def _median(code: Code, package: str, length: Callable[[Function], int]) -> Measured:
    lengths = [length(function) for function in code.functions_of(package)]
    return Measured(statistics.median(lengths) if lengths else None)


def _p90(code: Code, package: str, length: Callable[[Function], int]) -> Measured:
    functions = sorted(code.functions_of(package), key=length)
    if not functions:
        return Measured(None)
    value = length(functions[-(-len(functions) * 9 // 10) - 1])
    long = [function for function in reversed(functions) if length(function) >= LONG_FUNCTION]
    lines = (f"{one.place}: {one.name.split('.', 1)[1]} ({length(one)} lines)" for one in long)
    return Measured(value, tuple(lines))
