"""unlink(2): what is removed, and what is in use meanwhile."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import numpy as np
import pytest

from jaxfs.testing import eventually
from tests.conftest import SAXPY, Footprint, Mount
from tests.e2e.programs import FOREVER, SECONDS, SPIN
from tests.e2e.requests import (
    BOUND_S,
    X,
    Y,
    npy,
    reader,
    start,
    submit,
)


def rewritten(mount: Mount) -> None:
    (mount.path / "arrays/w").write_bytes(npy(np.ones(3, np.float32)))


def moved_over(mount: Mount) -> None:
    (mount.path / "arrays/v").write_text("[1, 2]\n")
    os.rename(mount.path / "arrays/v", mount.path / "arrays/w")


def moved_away(mount: Mount) -> None:
    os.rename(mount.path / "arrays/w", mount.path / "arrays/z")


def removed(mount: Mount) -> None:
    os.unlink(mount.path / "arrays/w")


BIG_BYTES = 1 << 20


BIG = """
func.func public @main(%x: tensor<262144xf32>) -> (tensor<262144xf32> {jax.result_info = "y"}) {
  %0 = stablehlo.add %x, %x : tensor<262144xf32>
  return %0 : tensor<262144xf32>
}
"""


def submit_big(mount: Mount, name: str, value: float) -> None:
    data = np.full(BIG_BYTES // 4, value, np.float32).tobytes()
    (mount.path / f"programs/big/calls/{name}.raw").write_bytes(data)


def test_removing_the_source_removes_the_program(mount: Mount) -> None:
    mount.add("saxpy.mlir", SAXPY)
    os.unlink(mount.path / "programs/saxpy.mlir")
    assert os.listdir(mount.path / "programs") == []


@pytest.mark.parametrize("change", [rewritten, moved_over, moved_away, removed])
@pytest.mark.parametrize("suffix", ["", ".json"])
def test_who_has_an_array_open_reads_it_to_its_end(
    mount: Mount, suffix: str, change: Callable[[Mount], None]
) -> None:
    (mount.path / "arrays/w").write_bytes(npy(np.arange(100_000, dtype=np.float32)))
    expected = (mount.path / f"arrays/w{suffix}").read_bytes()
    with (mount.path / f"arrays/w{suffix}").open("rb", buffering=0) as file:
        beginning = file.read(1000)
        change(mount)
        assert beginning + file.readall() == expected
        assert os.fstat(file.fileno()).st_size == len(expected)


@pytest.mark.parametrize("change", [moved_over, removed])
def test_array_that_is_removed_while_it_is_written_leaves_nothing(
    mount: Mount, change: Callable[[Mount], None]
) -> None:
    before = Footprint.of(mount)
    fd = os.open(mount.path / "arrays/w", os.O_WRONLY | os.O_CREAT)
    os.write(fd, npy(np.zeros(100_000, np.float32)))
    change(mount)
    with pytest.raises(OSError, match="cancel"):
        os.close(fd)
    mount.empty()
    eventually(lambda: Footprint.of(mount) == before)


def test_removed_result_is_gone_from_both_places(saxpy: Mount) -> None:
    submit(saxpy, "job1", npy(X, Y))
    os.unlink(saxpy.path / "results/job1")
    assert os.listdir(saxpy.path / "results") == []
    assert os.listdir(saxpy.path / "programs/saxpy/calls") == []


def test_open_result_keeps_its_bytes_when_it_is_removed(mount: Mount) -> None:
    """The memory went back to the pool, and the reader got what the next caller wrote."""
    mount.add("big.mlir", BIG)
    submit_big(mount, "mine", 1.0)
    with open(mount.path / "results/mine.raw", "rb", buffering=0) as file:
        os.unlink(mount.path / "results/mine")
        for number in range(4):
            submit_big(mount, f"other{number}", 100.0)
            (mount.path / f"results/other{number}").read_bytes()
        assert set(np.frombuffer(file.read(BIG_BYTES), np.float32)) == {2.0}


def test_early_result_keeps_its_bytes_when_it_is_removed(mount: Mount) -> None:
    mount.add("big.mlir", BIG)
    submit_big(mount, "mine", 1.0)
    fd = os.open(mount.path / "results/mine.raw", os.O_RDONLY | os.O_NONBLOCK)
    (mount.path / "results/mine").read_bytes()
    assert np.frombuffer(os.read(fd, 4), np.float32) == 2.0
    os.unlink(mount.path / "results/mine")
    submit_big(mount, "other", 100.0)
    (mount.path / "results/other").read_bytes()
    assert np.frombuffer(os.pread(fd, 4, BIG_BYTES - 4), np.float32) == 2.0
    os.close(fd)


def test_call_removed_while_it_is_written_is_not_submitted(mount: Mount) -> None:
    """It ran, and the memory of a result that nobody can remove stayed in use."""
    mount.add("saxpy.mlir", SAXPY)
    fd = os.open(mount.path / "programs/saxpy/calls/a", os.O_WRONLY | os.O_CREAT)
    os.write(fd, b"[1,1,1,1] [0,0,0,0]\n")
    os.unlink(mount.path / "programs/saxpy/calls/a")
    with pytest.raises(OSError) as caught:
        os.close(fd)
    assert caught.value.errno == errno.ECANCELED
    assert mount.keyed("health")["result_bytes"] == "0"


def test_removing_a_result_cancels_its_readers(own_mount: Mount) -> None:
    own_mount.add("spin.mlir", SPIN)
    start(own_mount, "endless", FOREVER)
    waiting = reader(own_mount, "endless")
    os.unlink(own_mount.path / "results/endless")
    _, error = waiting.communicate(timeout=BOUND_S)
    assert waiting.returncode != 0
    assert os.strerror(errno.ECANCELED).encode() in error


def test_removing_a_running_call_stops_it(own_mount: Mount) -> None:
    own_mount.add("spin.mlir", SPIN)
    start(own_mount, "endless", FOREVER)
    start(own_mount, "other", SECONDS)
    eventually(lambda: own_mount.keyed("health")["queued_calls"] == "0")
    os.unlink(own_mount.path / "results/endless")
    assert (own_mount.path / "results/other.json").read_text().strip() == str(SECONDS)
