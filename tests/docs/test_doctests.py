"""Examples in docstrings run, in every module that has some."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import jaxfs

ROOT = Path(jaxfs.__file__).parent
PROMPT = ">>> "
ENTRY_POINTS = {"jaxfs.codecs.formats", "jaxfs.codecs.infer", "jaxfs.types.avals"}


def modules_with_examples() -> list[str]:
    """Found in the text of the files, so that only modules with examples are imported."""
    return sorted(
        ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")
        for path in ROOT.rglob("*.py")
        if PROMPT in path.read_text()
    )


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_show_what_happens(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted
    assert not found.failed


def test_entry_points_have_examples() -> None:
    assert set(modules_with_examples()) >= ENTRY_POINTS
