"""The manual pages: made from the tables, kept in docs/man/, faultless to man and mandoc."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from jaxfs import errors, options, roff
from jaxfs.vfs import manual as jaxfs_manual
from jaxfs.vfs.node_table import SPECS
from mountctl import arguments, install
from mountctl import errors as exits
from mountctl import manual as mountctl_manual
from mountctl.cli import main

KEPT = Path(__file__).parents[2] / "docs/man"
PAGES: dict[str, Callable[[], str]] = {
    "jaxfs.7": jaxfs_manual.page,
    "mountctl.1": mountctl_manual.page,
}
UPDATE = "JAXFS_UPDATE_DOCS=1 python -m pytest tests/mountctl/test_manual.py"
ODD = (".SH in front", "'quote in front", "a \\ and \\fB", '"quoted"', "--a 'b' `c` ^ ~/d", "...")


@pytest.fixture(params=PAGES)
def page(request: pytest.FixtureRequest) -> str:
    text: str = PAGES[request.param]()
    return text


def formatted(page: str, *command: str) -> str:
    """What a formatter makes of a page; it must find no fault."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "100"}
    done = subprocess.run(
        command, input=page, capture_output=True, text=True, check=False, env=environment
    )
    if "minimized" in done.stdout + done.stderr:
        pytest.skip("this system has no manuals")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout


@pytest.mark.parametrize("name", PAGES)
def test_kept_page_is_current(name: str) -> None:
    """Rewrites it where JAXFS_UPDATE_DOCS is set."""
    if os.environ.get("JAXFS_UPDATE_DOCS"):
        (KEPT / name).write_text(PAGES[name]())
    assert (KEPT / name).read_text() == PAGES[name](), f"run {UPDATE}"


def test_mandoc_finds_no_fault(page: str) -> None:
    assert formatted(page, "mandoc", "-T", "lint") == ""


def test_man_finds_no_fault(page: str) -> None:
    assert "SEE ALSO" in formatted(page, "man", "--warnings", "-l", "-")


@pytest.mark.parametrize("command", [("mandoc", "-T", "utf8"), ("man", "--warnings", "-l", "-")])
def test_any_text_shows_as_it_is(command: tuple[str, ...]) -> None:
    entries = "".join(roff.entry(text, text, text) for text in ODD)
    shown = formatted(roff.header("x", 7, "x", "x") + roff.heading("X") + entries, *command)
    plain = re.sub(r".\x08", "", shown)  # bold: each character twice, a backspace between
    for text in ODD:
        assert f"{text} ({text})" in plain
        assert plain.count(text) >= 3


def test_page_of_the_files_names_every_file_option_and_errno() -> None:
    page = jaxfs_manual.page()
    names = [row.pattern for row in SPECS if row.pattern]
    names += [*options.TABLE, *(name for name, _ in errors.TABLE)]
    assert [name for name in names if f"\\fB{roff.escape(name)}" not in page] == []


def test_page_of_the_commands_names_every_command_option_and_exit_code() -> None:
    page = mountctl_manual.page()
    names = [*arguments.TABLE, *(str(code) for code, _ in exits.TABLE)]
    assert [name for name in names if f"\\fB{name}" not in page] == []
    assert [name for name in main.commands if f'.SS "mountctl {name} ' not in page] == []


def test_installed_pages_are_found_by_man(tmp_path: Path) -> None:
    assert CliRunner().invoke(main, ["install", "--root", str(tmp_path)]).exit_code == 0
    manuals = str(tmp_path / "usr/local/share/man")
    for name, text in (("jaxfs", "TRANSFORMATIONS"), ("mountctl", "EXIT STATUS")):
        assert text in formatted("", "man", "-M", manuals, name)
    assert "EXIT STATUS" in formatted("", "man", "-M", manuals, "mount.jaxfs")


def test_pages_are_marked_as_ours(tmp_path: Path) -> None:
    """Or uninstall would leave them."""
    for file in install.FILES:
        if "/man/" in file.path:
            assert install.MARK in file.text().splitlines()[0]
