"""stat(2): inodes and sizes."""

from __future__ import annotations

import os
import threading

from tests.conftest import SAXPY, Mount
from tests.e2e.programs import DOUBLE, SECONDS
from tests.e2e.requests import (
    X,
    Y,
    Z,
    npy,
    start,
    submit,
)


def test_name_used_again_is_a_new_inode(mount: Mount) -> None:
    saxpy = mount.add("saxpy.mlir", SAXPY)
    before = (saxpy / "status").stat().st_ino
    os.unlink(mount.path / "programs/saxpy.mlir")
    saxpy = mount.add("saxpy.mlir", DOUBLE)
    assert (saxpy / "status").stat().st_ino != before


def test_stat_answers_while_a_program_compiles(mount: Mount) -> None:
    body = "\n".join(
        f"  %{n + 1} = stablehlo.sine %{n} : tensor<{4 + n % 3 * 0}xf32>" for n in range(3000)
    )
    source = (
        "func.func public @main(%arg0: tensor<4xf32>) -> tensor<4xf32> {\n"
        "  %0 = stablehlo.cosine %arg0 : tensor<4xf32>\n"
        f"{body}\n  return %3000 : tensor<4xf32>\n}}\n"
    )
    writer = threading.Thread(target=mount.add, args=("slow.mlir", source))
    writer.start()
    states = set()
    while writer.is_alive():
        if (mount.path / "programs/slow/status").exists():
            states.add(mount.keyed("programs/slow/status")["state"])
        os.listdir(mount.path)
    writer.join()
    assert "compiling" in states
    assert mount.keyed("programs/slow/status")["state"] == "ready"


def test_size_is_exact_at_submission(saxpy: Mount) -> None:
    submit(saxpy, "job1", npy(X, Y))
    assert (saxpy.path / "results/job1").stat().st_size == len(npy(Z))
    assert (saxpy.path / "results/job1.raw").stat().st_size == Z.nbytes
    text = (saxpy.path / "results/job1.txt").read_text()
    assert (saxpy.path / "results/job1.txt").stat().st_size == len(text)


def test_size_of_an_unfinished_result_is_exact(spin: Mount) -> None:
    start(spin, "slow", SECONDS // 2)
    before = (spin.path / "results/slow").stat().st_size
    assert (spin.path / "results/slow.txt").stat().st_size == 0
    assert len((spin.path / "results/slow").read_bytes()) == before
    assert (spin.path / "results/slow.txt").stat().st_size == len(str(SECONDS // 2)) + 1
