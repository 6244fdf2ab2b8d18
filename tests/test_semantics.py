"""docs/SEMANTICS.md is kept: each promise has a test, each test that is named is there."""

from __future__ import annotations

import ast
import functools
import os
from pathlib import Path

import pytest

from docs.tools import semantics_tables

ROOT = Path(__file__).parent.parent
UPDATE = "JAXFS_UPDATE_DOCS=1 python -m pytest tests/test_semantics.py"
TABLE = semantics_tables.read_table()
TESTS = sorted({test for rows in TABLE.values() for tests in rows.values() for test in tests})
SECTIONS = semantics_tables.read_sections(semantics_tables.DOCUMENT.read_text())[1]


@functools.cache
def names_in(path: Path) -> set[str]:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    tree = ast.parse(path.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, functions)}


def test_there_are_promises() -> None:
    assert sum(len(section.promises) for section in SECTIONS) > 40


def test_each_promise_is_kept_by_a_test() -> None:
    assert semantics_tables.problems(SECTIONS, TABLE) == []


@pytest.mark.parametrize("test", TESTS)
def test_the_test_of_a_promise_is_there(test: str) -> None:
    file, _, name = test.partition("::")
    assert name in names_in(ROOT / file)


def test_every_line_of_prose_is_a_promise() -> None:
    lines = [line for section in SECTIONS for line in section.prose]
    assert not [line for line in lines if line and not line.startswith("- ")]


def test_the_tables_are_current() -> None:
    """Rewrites them where JAXFS_UPDATE_DOCS is set."""
    text = semantics_tables.DOCUMENT.read_text()
    current = semantics_tables.render(text, TABLE)
    if os.environ.get("JAXFS_UPDATE_DOCS"):
        semantics_tables.DOCUMENT.write_text(current)
    else:
        assert text == current, f"update it: {UPDATE}"
