"""What is removed is forgotten: by the kernel, and by the daemon with it."""

from __future__ import annotations

import os

from jaxfs.testing import eventually
from tests.conftest import SAXPY, Mount

CALLS = 40
SPARE = 5  # inodes of directories and control files looked at on the way


def known_inodes(mount: Mount) -> int:
    """How many inodes the daemon keeps for the kernel."""
    rows = (mount.path / "metrics").read_text().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith("jaxfs_inodes "))


def test_removed_results_are_forgotten_with_their_views(mount: Mount) -> None:
    program = mount.add("saxpy.mlir", SAXPY)
    before = known_inodes(mount)
    for number in range(CALLS):
        (program / f"calls/c{number}").write_text("[1,1,1,1] [0,0,0,0]\n")
        for view in ("json", "npy", "status"):
            (mount.path / f"results/c{number}.{view}").read_bytes()
    assert known_inodes(mount) >= before + 4 * CALLS
    for number in range(CALLS):
        os.unlink(mount.path / f"results/c{number}")
    eventually(lambda: known_inodes(mount) <= before + SPARE)


def test_removed_programs_are_forgotten_with_their_files(mount: Mount) -> None:
    before = known_inodes(mount)
    program = mount.add("saxpy.mlir", SAXPY)
    for entry in os.scandir(program):
        entry.stat()
    assert known_inodes(mount) > before + SPARE
    os.unlink(mount.path / "programs/saxpy.mlir")
    eventually(lambda: known_inodes(mount) <= before + SPARE)
    assert not program.exists()
