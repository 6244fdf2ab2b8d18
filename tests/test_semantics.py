"""docs/SEMANTICS.md is kept: each promise has a test, each test it names is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROMISES = [
    line for line in (ROOT / "docs/SEMANTICS.md").read_text().splitlines() if line.startswith("- ")
]
TEST_ID = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def names_in(path: Path) -> set[str]:
    names = ast.walk(ast.parse(path.read_text()))
    return {node.name for node in names if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_there_are_promises() -> None:
    assert len(PROMISES) > 40


@pytest.mark.parametrize("promise", PROMISES, ids=lambda line: line[2:60])
def test_promise_is_kept_by_a_test(promise: str) -> None:
    ids = TEST_ID.findall(promise)
    assert ids, "no test keeps this promise"
    for file, name in ids:
        assert (ROOT / file).exists(), f"{file} is not there"
        assert name in names_in(ROOT / file), f"{file} has no {name}"


def test_every_line_of_prose_is_a_promise() -> None:
    text = (ROOT / "docs/SEMANTICS.md").read_text().split("\n## ", 1)[1]
    stray = [line for line in text.splitlines()[1:] if line and not line.startswith(("- ", "## "))]
    assert not stray
