"""Waiting for results: in open, in poll, interrupted, cancelled."""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
import time

import pytest

from jaxfs.testing import eventually
from tests.conftest import Mount
from tests.e2e.programs import FOREVER, SECONDS, SPIN

BOUND_S = 30  # far over what it takes: a test that waits longer hangs


@pytest.fixture
def spin(mount: Mount) -> Mount:
    mount.add("spin.mlir", SPIN)
    return mount


def start(mount: Mount, name: str, turns: int) -> None:
    (mount.path / f"programs/spin/calls/{name}").write_text(f"{turns}\n")


def reader(mount: Mount, name: str) -> subprocess.Popen[bytes]:
    """A cat that is surely waiting in open(2)."""
    process = subprocess.Popen(
        ["cat", mount.path / "results" / name], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    # the other one is the open of `metrics`
    eventually(lambda: mount.keyed("metrics")["jaxfs_waiters"] == "2", message="cat does not wait")
    return process


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


def test_poll_says_when_a_result_is_ready(spin: Mount) -> None:
    start(spin, "slow", SECONDS // 2)
    fd = os.open(spin.path / "results/slow.json", os.O_RDONLY | os.O_NONBLOCK)
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    assert poller.poll(0) == []
    assert poller.poll(BOUND_S * 1000) == [(fd, select.POLLIN)]
    assert os.read(fd, 100).strip() == str(SECONDS // 2).encode()
    os.close(fd)


def test_size_of_an_unfinished_result_is_exact(spin: Mount) -> None:
    start(spin, "slow", SECONDS // 2)
    before = (spin.path / "results/slow").stat().st_size
    assert (spin.path / "results/slow.txt").stat().st_size == 0
    assert len((spin.path / "results/slow").read_bytes()) == before
    assert (spin.path / "results/slow.txt").stat().st_size == len(str(SECONDS // 2)) + 1


@pytest.mark.parametrize("number", ["INT", "TERM", "HUP", "QUIT", "KILL"])
def test_waiting_reader_ends_on_a_signal(spin: Mount, number: str) -> None:
    start(spin, "slow", SECONDS * 20)  # a reader may be long in coming; nobody waits for the end
    waiting = reader(spin, "slow")
    waiting.send_signal(getattr(signal, f"SIG{number}"))
    assert waiting.wait(BOUND_S) == -getattr(signal, f"SIG{number}")
    assert spin.keyed("results/slow.status")["state"] == "running"


def test_stopped_and_continued_reader_is_not_harmed(spin: Mount) -> None:
    start(spin, "slow", SECONDS * 4)
    waiting = reader(spin, "slow")
    for number in (signal.SIGSTOP, signal.SIGCONT, signal.SIGWINCH, signal.SIGURG):
        waiting.send_signal(number)
        time.sleep(0.05)
    out, error = waiting.communicate(timeout=BOUND_S * 3)
    assert waiting.returncode == 0, error
    assert len(out) > 100


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


def test_walking_waits_for_nothing_but_pending_results(spin: Mount) -> None:
    start(spin, "slow", SECONDS * 2)
    spin.sh("ls -lR . > /dev/null; find . > /dev/null; stat results/slow > /dev/null")
    assert spin.keyed("results/slow.status")["state"] == "running"
