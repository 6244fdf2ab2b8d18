"""docs/OPERATIONS.md shows what the commands print."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from jaxfs import options
from mountctl import arguments, errors, install
from mountctl.cli import main

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "OPERATIONS.md").read_text()


def test_exit_codes_in_the_document_are_those_of_the_table() -> None:
    assert f"$ mountctl help exit-codes\n{errors.exit_codes()}\n```" in TEXT


def test_every_installed_file_is_in_the_document() -> None:
    for file in install.FILES:
        place = file.path if file.path.startswith("/") else f"/usr/local/{file.path}"
        assert place in TEXT or place.startswith("/usr/local/share/"), place


def test_commands_in_the_document_are_there() -> None:
    named = set(re.findall(r"(?:`|\n|\$ )mountctl ([a-z]+)", TEXT))
    assert named <= set(main.commands)
    assert {"top", "doctor", "logs", "install", "bench", "add"} <= named


@pytest.mark.parametrize("words", re.findall(r"^none  /jax  jaxfs  (\S+)", TEXT, re.MULTILINE))
def test_fstab_line_of_the_document_is_understood(words: str) -> None:
    assert arguments.parse(options.split([words])).launch.state_dir == "/var/lib/jaxfs"


def test_unit_takes_the_variable_the_document_sets() -> None:
    (unit,) = [file.text() for file in install.FILES if file.path.endswith(".service")]
    assert "JAXFS_OPTIONS=" in TEXT
    assert "-o ${JAXFS_OPTIONS}" in unit


@pytest.mark.parametrize("name", re.findall(r"\]\((\w+\.svg)\)", TEXT))
def test_picture_is_complete_and_asks_the_network_for_nothing(name: str) -> None:
    picture = (DOCS / name).read_text()
    assert ElementTree.fromstring(picture).tag.endswith("svg")
    assert "mountctl" in picture
    assert "url(http" not in picture.replace('"', "")
