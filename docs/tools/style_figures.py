"""Figures of style: how the source compares with the limits of this project.

``python -m docs.tools.style_figures`` prints them; ``make check`` does. With ``--check`` it fails
if a limit is missed, and lists the places. ``--list FIGURE`` lists the places of one figure, for
example all functions with a single caller.

What counts:

- A file's length is all of its lines. An ``__init__.py`` that holds only a docstring is the comment
  of its folder and no file of substance; the share of short files is shown with and without these.
- A function's length runs from ``def`` to its last line. Its docstring counts, its decorators do
  not; median and p90 are shown without docstrings too. A ``def`` inside a function is part of it.
- ``docs.tools.style.callers`` says what a single caller is and ``uses`` how calls are found,
  ``imports`` what a circle is, ``signatures`` what a public function is.
- Limits hold for ``jaxfs``; the figures of ``mountctl`` are shown for comparison.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from docs.tools.style import callers, coverage, duplicates, imports, signatures, sizes
from docs.tools.style.imports import ALL_TIMES, LOADED
from docs.tools.style.measured import Limit, Measured, at_least, at_most, between, under
from docs.tools.style.names import Names
from docs.tools.style.source import Code, read_code
from docs.tools.style.uses import find_uses

PACKAGES = ("jaxfs", "mountctl")

# folders that name a process or a directory of the interface, so that their files need not
REPEATABLE_STEMS = (
    "jaxfs.front",
    "jaxfs.engine.client",
    "jaxfs.engine.worker",
    "jaxfs.compiler.client",
    "jaxfs.compiler.zygote",
    "jaxfs.vfs.files",
)
# beside MLIR's bindings, which have no types
UNTYPED_NEIGHBOURS = (
    "jaxfs.stablehlo",
    "jaxfs.jaxcompat",
    "jaxfs.compiler.jobs",
    "jaxfs.compiler.sources",
    "jaxfs.compiler.transforms",
    "jaxfs.compiler.traceable",
)
COVERED_FOLDERS = ("jaxfs/vfs", "jaxfs/calls", "jaxfs/arrays", "jaxfs/programs")
COVERED_BRANCHES = at_least(85)


@dataclass(frozen=True)
class Project:
    """The source, read once for all figures."""

    code: Code
    names: Names
    callers: callers.Callers
    graph: imports.ImportGraph


Measure = Callable[[Project, str], Measured]


@dataclass(frozen=True)
class Figure:
    """A row of the table.

    Attributes:
        key: What ``--list`` takes.
        title: What it measures.
        measure: Measures one package.
        limit: None for figures that are shown for comparison.
    """

    key: str
    title: str
    measure: Measure
    limit: Limit | None = None


def _of_code(measure: Callable[[Code, str], Measured]) -> Measure:
    return lambda project, package: measure(project.code, package)


def _of_callers(measure: Callable[[callers.Callers, str], Measured]) -> Measure:
    return lambda project, package: measure(project.callers, package)


def _of_graph(measure: Callable[[imports.ImportGraph, str], Measured]) -> Measure:
    return lambda project, package: measure(project.graph, package)


def _of_names(measure: Callable[[Names, str], Measured]) -> Measure:
    return lambda project, package: measure(project.names, package)


FIGURES = (
    Figure("long-files", "files over 400 lines", _of_code(sizes.long_files), at_most(0)),
    Figure("short-files", "files under 60 lines, %", _of_code(sizes.short_file_share), at_most(18)),
    Figure(
        "short-files-all",
        "  with docstring-only __init__.py, %",
        _of_code(sizes.short_file_share_of_all),
    ),
    Figure("median", "function length, median", _of_code(sizes.median_length), between(7, 12)),
    Figure("median-code", "  without docstring", _of_code(sizes.median_length_without_docstring)),
    Figure("p90", "function length, p90", _of_code(sizes.p90_length), under(30)),
    Figure("p90-code", "  without docstring", _of_code(sizes.p90_length_without_docstring)),
    Figure(
        "single-caller",
        "functions with a single caller, %",
        _of_callers(callers.single_call_share),
        under(45),
    ),
    Figure(
        "one-caller",
        "  called by one function, once or more, %",
        _of_callers(callers.one_caller_share),
    ),
    Figure("uncalled", "  without any use in the packages", _of_callers(callers.uncalled)),
    Figure(
        "stems",
        "file stems that occur twice",
        _of_code(partial(duplicates.repeated_stems, excepted=REPEATABLE_STEMS)),
        at_most(0),
    ),
    Figure(
        "classes",
        "class names that occur twice",
        _of_code(duplicates.repeated_classes),
        at_most(0),
    ),
    Figure(
        "package-circles",
        "circles of packages, imports when loading",
        _of_graph(partial(imports.package_circles, times=LOADED)),
        at_most(0),
    ),
    Figure(
        "hidden-package-circles",
        "  with TYPE_CHECKING and imports in functions",
        _of_graph(partial(imports.package_circles, times=ALL_TIMES)),
        at_most(0),
    ),
    Figure(
        "module-circles",
        "circles of modules, imports when loading",
        _of_graph(partial(imports.module_circles, times=LOADED)),
        at_most(0),
    ),
    Figure(
        "hidden-module-circles",
        "  with TYPE_CHECKING and imports in functions",
        _of_graph(partial(imports.module_circles, times=ALL_TIMES)),
        at_most(0),
    ),
    Figure("upward", "imports against the layers", _of_graph(imports.upward_arrows), at_most(0)),
    Figure(
        "any",
        "public functions with Any",
        _of_names(partial(signatures.any_in_signatures, excepted=UNTYPED_NEIGHBOURS)),
        at_most(0),
    ),
    Figure(
        "any-fields",
        "  fields with Any of public records",
        _of_names(partial(signatures.any_in_records, excepted=UNTYPED_NEIGHBOURS)),
    ),
    Figure(
        "object",
        "  public functions with object",
        _of_names(partial(signatures.object_in_signatures, excepted=UNTYPED_NEIGHBOURS)),
    ),
)


@dataclass(frozen=True)
class Row:
    """A figure with its values: one for each package, or one of a coverage report."""

    figure_key: str
    title: str
    limit: Limit | None
    measured: tuple[Measured, ...]

    @property
    def is_missed(self) -> bool:
        """Whether the first value, that of jaxfs, is outside the limit."""
        value = self.measured[0].value
        return self.limit is not None and (value is None or not self.limit.holds(value))


def read_project(root: Path) -> Project:
    """Returns the packages below ``root`` with what their figures share."""
    code = read_code(root, PACKAGES)
    names = Names(code)
    graph = imports.ImportGraph(names, root / "pyproject.toml")
    return Project(code, names, callers.Callers(names, find_uses(names, root)), graph)


def source_rows(project: Project) -> list[Row]:
    """Returns a row for each of ``FIGURES``."""
    return [
        Row(
            figure.key,
            figure.title,
            figure.limit,
            tuple(figure.measure(project, package) for package in PACKAGES),
        )
        for figure in FIGURES
    ]


def coverage_rows(path: Path) -> list[Row]:
    """Returns two rows for each of ``COVERED_FOLDERS``, from a file of ``coverage json``."""
    report = coverage.read_report(path)
    branches = (
        Row(
            f"branches-{Path(folder).name}",
            f"branches of {folder} taken by tests, %",
            COVERED_BRANCHES,
            (coverage.branch_coverage(report, folder),),
        )
        for folder in COVERED_FOLDERS
    )
    lines = (
        Row("", "  lines, %", None, (coverage.line_coverage(report, folder),))
        for folder in COVERED_FOLDERS
    )
    return [row for pair in zip(branches, lines, strict=True) for row in pair]


def table(rows: list[Row]) -> str:
    """Returns rows as text, with a mark behind each that misses its limit."""
    lines = [f"{'figure':<48}{'limit':>8}{'jaxfs':>10}{'mountctl':>10}"]
    for row in rows:
        values = "".join(f"{_words(measured.value):>10}" for measured in row.measured)
        limit = row.limit.text if row.limit else ""
        line = f"{row.title:<48}{limit:>8}{values:<20}"
        lines.append(f"{line}  missed" if row.is_missed else line.rstrip())
    return "\n".join(lines)


def _words(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value == int(value) else f"{value:.1f}"


def _offender_lines(row: Row) -> str:
    offenders = "\n".join(f"  {line}" for line in row.measured[0].offenders)
    return f"{row.title.strip()} [{row.figure_key}]:\n{offenders}"


@click.command(help="Print how the source compares with the limits of style.")
@click.option("--check", "must_hold", is_flag=True, help="Fail if a limit is missed.")
@click.option("--list", "listed", metavar="FIGURE", help="List the places of one figure.")
@click.option(
    "--coverage",
    "report",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Add branch coverage from a file written by `coverage json`.",
)
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path(__file__).parents[2],
    help="The checkout; this one by default.",
)
def main(must_hold: bool, listed: str | None, report: Path | None, root: Path) -> None:
    """Measures, prints and exits."""
    rows = source_rows(read_project(root)) + (coverage_rows(report) if report else [])
    if listed:
        click.echo(_listing(rows, listed))
        return
    click.echo(table(rows))
    missed = [row for row in rows if row.is_missed]
    if must_hold and missed:
        click.echo("\nLimits are missed:\n" + "\n".join(map(_offender_lines, missed)), err=True)
        sys.exit(1)


def _listing(rows: list[Row], key: str) -> str:
    """Returns the places of one figure in all packages."""
    by_key = {row.figure_key: row for row in rows if row.figure_key}
    if key not in by_key:
        raise click.BadParameter(f"no figure {key!r}; there are {', '.join(by_key)}")
    return "\n".join(line for measured in by_key[key].measured for line in measured.offenders)


if __name__ == "__main__":
    main()
