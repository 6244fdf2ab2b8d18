"""What the documents show is what happens."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.report import faq
from jaxfs.testing import eventually
from tests.conftest import SAXPY, Mount
from tests.docs import console

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
LINKING = [
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md")
    for path in ROOT.glob(pattern)
]
UPDATE = "JAXFS_UPDATE_DOCS=1 python -m pytest tests/docs"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A reader's home, where nothing stays mounted."""
    path = tmp_path / "ada"
    path.mkdir()
    yield path
    if os.path.ismount(path / "jax"):
        Mount(path / "jax", tmp_path).stop()
    eventually(lambda: not os.path.ismount(path / "jax"))


@pytest.mark.parametrize("name", ["README.md", "docs/TOUR.md"])
def test_commands_print_what_the_document_shows(name: str, home: Path) -> None:
    """Rewrites it where JAXFS_UPDATE_DOCS is set."""
    document = (ROOT / name).read_text()
    typed = console.commands(document)
    assert len(typed) > 10
    found = console.run(typed, home, ROOT)
    if os.environ.get("JAXFS_UPDATE_DOCS"):
        (ROOT / name).write_text(console.rewritten(document, found))
        typed = console.commands((ROOT / name).read_text())
    differ = [
        f"$ {old.command}\n--- shown\n{old.shown}--- printed\n{new.shown}"
        for old, new in zip(typed, found, strict=True)
        if not console.is_same(old.shown, new.shown)
    ]
    assert not differ, "\n".join([*differ, f"run {UPDATE}, and look at what it changed"])


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_readme_calls_from_c(mount: Mount, tmp_path: Path) -> None:
    (snippet,) = re.findall(r"^```c\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    mount.add("saxpy.mlir", SAXPY)
    include = "".join(f"#include <{name}.h>\n" for name in ("fcntl", "stdio", "unistd"))
    show = 'printf("%g %g %g %g", z[0], z[1], z[2], z[3]);'
    (tmp_path / "call.c").write_text(f"{include}int main(void) {{\n{snippet}{show}\n}}\n")
    subprocess.run(["cc", "-o", "call", "call.c"], cwd=tmp_path, check=True)
    done = subprocess.run(
        [tmp_path / "call"], cwd=mount.path.parent, capture_output=True, text=True, check=True
    )
    assert done.stdout == "12 24 36 48"


@pytest.mark.parametrize("name", LINKING)
def test_links_lead_somewhere(name: str) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", (ROOT / name).read_text())
    inside = [target for target in targets if "://" not in target]
    assert [target for target in inside if not (ROOT / name).parent.joinpath(target).exists()] == []


def test_figures_of_the_faq_are_those_of_the_benchmark() -> None:
    """Rewrites them where JAXFS_UPDATE_DOCS is set."""
    if os.environ.get("JAXFS_UPDATE_DOCS"):
        faq.update()
    assert faq.DOCUMENT.read_text() == faq.document(), f"run {UPDATE}"


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a\n...\nd\n", "a\nb\nc\nd\n", True),
        ("a\n...\n", "a\n", True),
        ("a\n...\nd\n", "a\nb\n", False),
        ("a.b\n", "a-b\n", False),
        ("ready in 0.38 s\n", "ready in 12 s\n", True),
        ("ready\n", "failed\n", False),
    ],
)
def test_what_differs_is_seen(shown: str, printed: str, same: bool) -> None:
    assert console.is_same(shown, printed) == same
