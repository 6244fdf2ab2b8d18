"""Tables of docs/SEMANTICS.md: which tests keep each promise.

``docs/semantics_tests.toml`` names the tests, by section and by the beginning of the promise. This
tool writes a table below each section; ``--check`` only says whether they are current. It leaves
the prose alone.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

DOCS = Path(__file__).parents[1]
DOCUMENT = DOCS / "SEMANTICS.md"
TESTS = DOCS / "semantics_tests.toml"
BEGIN = "<!-- tests, made from semantics_tests.toml by docs/tools/semantics_tables.py -->"
END = "<!-- end of tests -->"
ESCAPED_BAR = r"\|"
Table = Mapping[str, Mapping[str, Sequence[str]]]  # section -> beginning of a promise -> tests


@dataclass(frozen=True)
class Section:
    """A part of the document.

    Attributes:
        title: Its heading.
        prose: The lines below the heading, without the table.
    """

    title: str
    prose: tuple[str, ...]

    @property
    def promises(self) -> list[str]:
        """The bullets, without their dashes."""
        return [line.removeprefix("- ") for line in self.prose if line.startswith("- ")]


def read_table(path: Path = TESTS) -> Table:
    """Returns the tests of each promise."""
    with path.open("rb") as file:
        return tomllib.load(file)


def read_sections(text: str) -> tuple[str, list[Section]]:
    r"""Returns the text above the first section, and the sections without their tables.

    >>> head, sections = read_sections("# Title\n\n## One\n\n- It is kept.\n")
    >>> sections[0].promises
    ['It is kept.']
    """
    head, *parts = text.split("\n## ")
    sections = []
    for part in parts:
        prose, _, _ = part.partition(f"\n{BEGIN}\n")
        title, *lines = prose.rstrip("\n").split("\n")
        sections.append(Section(title, tuple(lines)))
    return head, sections


def kept_by(promise: str, rows: Mapping[str, Sequence[str]]) -> Sequence[str]:
    """Returns the tests of the row that a promise begins with; none if there is no row.

    >>> kept_by("It is kept.", {"It is": ["tests/test_x.py::test_it"]})
    ['tests/test_x.py::test_it']
    """
    return next((tests for start, tests in rows.items() if promise.startswith(start)), ())


def problems(sections: Sequence[Section], table: Table) -> list[str]:
    """Returns a line for each promise without tests, and for each row that is no one promise's."""
    unknown = table.keys() - {section.title for section in sections}
    found = [f"there is no section {title!r}" for title in unknown]
    for section in sections:
        rows = table.get(section.title, {})
        found += [f"no test keeps: {one}" for one in section.promises if not kept_by(one, rows)]
        for start in rows:
            count = sum(one.startswith(start) for one in section.promises)
            if count != 1:
                found.append(f"{section.title}: {count} promises begin with {start!r}")
    return found


def render(text: str, table: Table) -> str:
    """Returns the document with a table below each section that has promises."""
    head, sections = read_sections(text)
    parts = [head.rstrip("\n") + "\n"]
    for section in sections:
        parts += [f"\n## {section.title}\n", *(f"{line}\n" for line in section.prose)]
        if section.promises:
            parts += ["\n", *_table_lines(table.get(section.title, {}))]
    return "".join(parts)


def _table_lines(rows: Mapping[str, Sequence[str]]) -> list[str]:
    lines = [f"{BEGIN}\n", "\n", "| promise | tests |\n", "| --- | --- |\n"]
    for start, tests in rows.items():
        shown = "<br>".join(f"`{test}`" for test in tests)
        lines.append(f"| {start.replace('|', ESCAPED_BAR)} | {shown} |\n")
    return [*lines, "\n", f"{END}\n"]


@click.command(help=__doc__)
@click.option("--check", is_flag=True, help="Write nothing; fail if a table is not current.")
def main(check: bool) -> None:
    """Writes the tables, or checks them."""
    text, table = DOCUMENT.read_text(), read_table()
    found = problems(read_sections(text)[1], table)
    current = render(text, table)
    if check and current != text:
        found.append("the tables are not current; run python -m docs.tools.semantics_tables")
    if found:
        sys.exit("\n".join(found))
    DOCUMENT.write_text(current)


if __name__ == "__main__":
    main()
