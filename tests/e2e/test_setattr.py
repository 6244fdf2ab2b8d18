"""utimensat(2): times of programs."""

from __future__ import annotations

import os

import pytest

from tests.conftest import SAXPY, Mount


@pytest.mark.parametrize("name", ["saxpy.mlir", ".saxpy"])
def test_cp_p_keeps_the_time(mount: Mount, name: str) -> None:
    """cp sets the time before it closes the file, and the commit at close changed it."""
    source = mount.path.parent / "saxpy.mlir"
    source.write_text(SAXPY)
    os.utime(source, (1_000_000_000, 1_000_000_000))
    mount.sh(f"cp -p ../saxpy.mlir programs/{name}")
    assert (mount.path / f"programs/{name}").stat().st_mtime == 1_000_000_000


def test_program_written_again_has_a_new_time(mount: Mount) -> None:
    """Also with the same bytes; make(1) copied it each time."""
    mount.add("saxpy.mlir", SAXPY)
    source = mount.path / "programs/saxpy.mlir"
    os.utime(source, (1_000_000_000, 1_000_000_000))
    mount.add("saxpy.mlir", SAXPY)
    assert source.stat().st_mtime > 1_000_000_000
