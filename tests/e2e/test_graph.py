"""``graph.svg``: a program as a picture, made when it is read."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from tests.conftest import SAXPY, Mount, process_of
from tests.e2e.programs import SPIN

SVG = "{http://www.w3.org/2000/svg}"
MOST_BOXES = 150


def picture(program: Path) -> Element:
    return ElementTree.fromstring((program / "graph.svg").read_bytes())


def titles(root: Element, name: str) -> list[str]:
    """The titles of a picture's parts of one class."""
    groups = [group for group in root.iter(f"{SVG}g") if group.get("class") == name]
    return [group.findtext(f"{SVG}title", "") for group in groups]


def drawn(mount: Mount) -> list[str]:
    """The programs that pictures were made of, as the trace tells."""
    found = re.findall(r'"name":"([^"]*)","cat":"draw"', (mount.path / "trace").read_text())
    return [name for name in found if name != "waiting"]


@pytest.fixture
def saxpy(mount: Mount) -> Path:
    """A program that nobody has drawn."""
    return mount.add("saxpy.mlir", f"{SAXPY}// {os.urandom(8).hex()}\n")


def test_picture_shows_inputs_operations_and_outputs_with_types(saxpy: Path) -> None:
    root = picture(saxpy)
    assert root.tag == f"{SVG}svg"
    assert titles(root, "input") == ["x", "y"]
    assert titles(root, "operations") == ["multiply 2, add"]
    assert titles(root, "output") == ["result"]
    assert set(titles(root, "flow")) == {"f32[4]"}


def test_picture_can_be_read_aloud(saxpy: Path) -> None:
    root = picture(saxpy)
    assert root.get("role") == "img"
    named = [root.findtext(f"{SVG}{tag}") for tag in ("title", "desc")]
    assert named == ["x, y → result", "3 operations in 4 boxes."]
    assert root.get("aria-labelledby") == "title desc"


def test_loops_are_clusters(mount: Mount) -> None:
    root = picture(mount.add("spin.mlir", SPIN))
    assert titles(root, "cluster") == ["while", "condition", "body"]
    assert titles(root, "turn") == ["each turn", "next turn, or end"]


def test_a_large_program_is_gathered_and_that_is_said(mount: Mount) -> None:
    steps = [
        f"%{2 * n + 1} = stablehlo.transpose %{2 * n}, dims = [1, 0]"
        f" : (tensor<2x2xf32>) -> tensor<2x2xf32>\n"
        f"%{2 * n + 2} = stablehlo.sine %{2 * n + 1} : tensor<2x2xf32>"
        for n in range(400)
    ]
    body = "\n".join(steps)
    program = mount.add(
        "large.mlir",
        "func.func @main(%x: tensor<2x2xf32>) -> tensor<2x2xf32> {\n"
        f"%0 = stablehlo.cosine %x : tensor<2x2xf32>\n{body}\n"
        "return %800 : tensor<2x2xf32>\n}\n",
    )
    root = picture(program)
    boxes = sum(len(titles(root, name)) for name in ("input", "operations", "output"))
    assert 50 < boxes <= MOST_BOXES
    said = root.findtext(f"{SVG}desc", "")
    assert said.startswith(f"801 operations in {boxes} boxes.")
    assert "drawn together" in said


def test_functions_are_shown_where_they_are_called(mount: Mount) -> None:
    program = mount.add(
        "calls.mlir",
        """
        func.func @main(%x: tensor<2x2xf32>) -> tensor<2x2xf32> {
          %0 = func.call @mix(%x) : (tensor<2x2xf32>) -> tensor<2x2xf32>
          %1 = func.call @twice(%0) : (tensor<2x2xf32>) -> tensor<2x2xf32>
          return %1 : tensor<2x2xf32>
        }
        func.func private @mix(%x: tensor<2x2xf32>) -> tensor<2x2xf32> {
          %0 = stablehlo.dot_general %x, %x, contracting_dims = [1] x [0]
            : (tensor<2x2xf32>, tensor<2x2xf32>) -> tensor<2x2xf32>
          %1 = stablehlo.tanh %0 : tensor<2x2xf32>
          return %1 : tensor<2x2xf32>
        }
        func.func private @twice(%x: tensor<2x2xf32>) -> tensor<2x2xf32> {
          %0 = stablehlo.add %x, %x : tensor<2x2xf32>
          %1 = stablehlo.add %0, %x : tensor<2x2xf32>
          return %1 : tensor<2x2xf32>
        }
        """,
    )
    root = picture(program)
    assert titles(root, "cluster") == ["mix"]
    assert titles(root, "heavy") == ["dot_general"]
    assert titles(root, "operations") == ["tanh", "twice"]


def test_looking_around_draws_nothing_and_reading_draws_once(mount: Mount, saxpy: Path) -> None:
    before = len(drawn(mount))
    mount.sh("find programs -ls; ls -lR programs; du -a programs")
    assert os.stat(saxpy / "graph.svg").st_size == 0
    assert len(drawn(mount)) == before
    first = (saxpy / "graph.svg").read_bytes()
    assert (saxpy / "graph.svg").read_bytes() == first
    assert drawn(mount)[before:] == ["saxpy"]
    assert os.stat(saxpy / "graph.svg").st_size == len(first)


def test_picture_can_be_copied_before_anybody_read_it(saxpy: Path, tmp_path: Path) -> None:
    shutil.copyfile(saxpy / "graph.svg", tmp_path / "copy.svg")
    assert (tmp_path / "copy.svg").read_bytes() == (saxpy / "graph.svg").read_bytes() != b""


def test_transformed_programs_have_pictures(mount: Mount, saxpy: Path) -> None:
    root = picture(mount.path / "transformations/vmap:axis_size=3/saxpy")
    assert titles(root, "input")
    assert any("f32[3,4]" in title for title in titles(root, "flow"))


def test_the_front_draws_nothing_itself(mount: Mount, saxpy: Path) -> None:
    picture(saxpy)
    engine = mount.keyed("health")["engine_pid"]
    front = Path(f"/proc/{engine}/stat").read_text().rpartition(")")[2].split()[1]
    assert "graphlay" not in Path(f"/proc/{front}/maps").read_text()
    assert (
        "graphlay"
        in Path(f"/proc/{process_of('jaxfs.compiler.zygote.main', mount)}/maps").read_text()
    )
