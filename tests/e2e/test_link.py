"""link(2): names for results and arrays."""

from __future__ import annotations

import os
import subprocess

import numpy as np
from safetensors.numpy import save

from tests.conftest import SAXPY, Mount
from tests.e2e.programs import TREE, made
from tests.e2e.requests import (
    numbers,
)


def test_links_share_and_the_last_name_frees(mount: Mount) -> None:
    mount.add("saxpy.mlir", SAXPY)
    (mount.path / "programs/saxpy/calls/s").write_text("[1,1,1,1] [0,0,0,0]\n")
    os.link(mount.path / "results/s", mount.path / "arrays/a")
    os.link(mount.path / "arrays/a", mount.path / "arrays/b")
    assert (mount.path / "arrays/b").stat().st_nlink == 3
    assert mount.keyed("arrays/b.status")["names"] == "3"
    os.unlink(mount.path / "results/s")
    os.unlink(mount.path / "arrays/a")
    assert numbers(mount, "arrays/b") == [2, 2, 2, 2]
    os.unlink(mount.path / "arrays/b")
    assert os.listdir(mount.path / "arrays") == []


def test_views_of_results_can_be_given_names(mount: Mount) -> None:
    mount.add("tree.pkl", made(TREE, "(step, params, np.ones((), np.float32))"))
    (mount.path / "arrays/p").write_bytes(
        save({"b": np.zeros(3, np.float16), "w": np.ones((2, 3), np.float32)})
    )
    (mount.path / "programs/tree/calls/s").write_text("arrays/p 1\n")
    os.link(mount.path / "results/s.2", mount.path / "arrays/double")
    assert np.load(mount.path / "arrays/double").tolist() == 2
    assert subprocess.call(["cp", mount.path / "arrays/p.w.txt", os.devnull]) == 0
