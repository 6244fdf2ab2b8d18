"""open(2): what waits, and what is refused."""

from __future__ import annotations

import errno
import os

import pytest

from tests.conftest import Mount
from tests.e2e.programs import SECONDS
from tests.e2e.requests import (
    X,
    Y,
    Z,
    npy,
    refuses_program,
    start,
    submit,
)


def test_using_a_broken_program_fails_with_enoexec(mount: Mount) -> None:
    refuses_program(mount, "bad.mlir", "nothing")
    with pytest.raises(OSError) as caught:
        (mount.path / "programs/bad/calls/j").write_text("1\n")
    assert caught.value.errno == errno.ENOEXEC


def test_nonblocking_open_of_a_finished_result_reads_it(saxpy: Mount) -> None:
    submit(saxpy, "job1", npy(X, Y))
    (saxpy.path / "results/job1").read_bytes()
    fd = os.open(saxpy.path / "results/job1", os.O_RDONLY | os.O_NONBLOCK)
    assert os.read(fd, 4096) == npy(Z)
    os.close(fd)


def test_open_waits_for_the_result(spin: Mount) -> None:
    start(spin, "slow", SECONDS // 2)
    assert spin.keyed("results/slow.status")["state"] == "running"
    text = (spin.path / "results/slow.json").read_text()
    assert text.strip() == str(SECONDS // 2)


def test_nonblocking_reader_gets_eagain_until_it_is_ready(spin: Mount) -> None:
    start(spin, "slow", SECONDS // 2)
    fd = os.open(spin.path / "results/slow.json", os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(BlockingIOError):
        os.read(fd, 100)
    with open(spin.path / "results/slow"):  # wait
        pass
    assert os.read(fd, 100).strip() == str(SECONDS // 2).encode()
    os.close(fd)
