"""poll, select and epoll on what changes by itself."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import SAXPY, Mount
from tests.e2e.programs import SECONDS, SPIN
from tests.e2e.requests import (
    BOUND_S,
    start,
)

BOUND_MS = 30_000  # a test that waits longer hangs
SLOW = (SECONDS * 2).to_bytes(8, "little")
INPUTS = b"[1,1,1,1] [0,0,0,0]\n"


def by_poll(fd: int, events: int, timeout_ms: int) -> bool:
    poller = select.poll()
    poller.register(fd, events)
    return bool(poller.poll(timeout_ms))


def by_epoll(fd: int, events: int, timeout_ms: int) -> bool:
    with select.epoll() as poller:
        poller.register(fd, events)  # EPOLLIN and POLLIN are the same numbers
        return bool(poller.poll(timeout_ms / 1000))


def by_select(fd: int, events: int, timeout_ms: int) -> bool:
    readers = [fd] if events & select.POLLIN else []
    exceptional = [fd] if events & select.POLLPRI else []
    return any(map(bool, select.select(readers, [], exceptional, timeout_ms / 1000)))


WAYS = [by_poll, by_epoll, by_select]
Way = Callable[[int, int, int], bool]


@pytest.mark.parametrize("ready", WAYS)
def test_call_is_readable_when_a_reply_is_there(mount: Mount, ready: Way) -> None:
    call = mount.add("spin.mlir", SPIN) / "call.raw"
    fd = os.open(call, os.O_RDWR | os.O_NONBLOCK)
    assert not ready(fd, select.POLLIN, 0)
    os.write(fd, SLOW)
    with pytest.raises(BlockingIOError):
        os.read(fd, 100)
    assert not ready(fd, select.POLLIN, 0)
    assert ready(fd, select.POLLIN, BOUND_MS)
    assert os.read(fd, 100) == SLOW
    assert not ready(fd, select.POLLIN, 0)
    os.close(fd)


def test_call_is_always_writable(mount: Mount) -> None:
    fd = os.open(mount.add("saxpy.mlir", SAXPY) / "call", os.O_RDWR)
    assert by_poll(fd, select.POLLOUT, 0)
    os.close(fd)


@pytest.mark.parametrize("ready", WAYS)
def test_poller_learns_of_a_request_made_meanwhile(mount: Mount, ready: Way) -> None:
    fd = os.open(mount.add("saxpy.mlir", SAXPY) / "call.raw", os.O_RDWR)
    answers: list[bool] = []
    poller = threading.Thread(target=lambda: answers.append(ready(fd, select.POLLIN, BOUND_MS)))
    poller.start()
    os.write(fd, bytes(32))
    poller.join()
    assert answers == [True]
    assert os.read(fd, 100) == bytes(16)
    os.close(fd)


def test_text_request_is_readable_because_reading_ends_it(mount: Mount) -> None:
    fd = os.open(mount.add("saxpy.mlir", SAXPY) / "call", os.O_RDWR | os.O_NONBLOCK)
    os.write(fd, INPUTS)
    data = b""
    while not data:
        assert by_poll(fd, select.POLLIN, BOUND_MS)
        try:
            data = os.read(fd, 100)
        except BlockingIOError:
            continue
    assert data.strip() == b"[2.0, 2.0, 2.0, 2.0]"
    os.close(fd)


def write_in_background(path: Path, text: str) -> threading.Thread:
    thread = threading.Thread(target=lambda: path.write_text(text))
    thread.start()
    return thread


@pytest.mark.parametrize("ready", WAYS)
def test_status_tells_the_end_of_a_compile(mount: Mount, ready: Way) -> None:
    source = mount.path / "programs/fresh.mlir"
    source.touch()
    fd = os.open(mount.path / "programs/fresh/status", os.O_RDONLY)
    assert b"state failed" in os.read(fd, 4096)
    assert ready(fd, select.POLLIN, 0)
    assert not ready(fd, select.POLLPRI, 0)
    unlike_others = f"{SAXPY}// {time.time_ns()}\n"
    writer = write_in_background(source, unlike_others)
    text = b""
    while b"state ready" not in text:
        assert ready(fd, select.POLLPRI, BOUND_MS)
        text = os.pread(fd, 4096, 0)
    assert not ready(fd, select.POLLPRI, 0)
    writer.join()
    os.close(fd)


def test_status_of_a_call_tells_its_end(mount: Mount) -> None:
    program = mount.add("spin.mlir", SPIN)
    (program / "calls/slow").write_text(f"{SECONDS * 4}\n")  # it must still run when it is read
    fd = os.open(mount.path / "results/slow.status", os.O_RDONLY)
    assert b"state running" in os.read(fd, 4096)
    assert by_poll(fd, select.POLLPRI, BOUND_MS)
    assert b"state done" in os.pread(fd, 4096, 0)
    assert not by_poll(fd, select.POLLPRI, 0)
    os.close(fd)


def test_every_poller_of_a_file_is_woken(mount: Mount) -> None:
    program = mount.add("spin.mlir", SPIN)
    (program / "calls/slow").write_text(f"{SECONDS * 4}\n")  # it must still run when it is read
    fd = os.open(mount.path / "results/slow", os.O_RDONLY | os.O_NONBLOCK)
    answers: list[bool] = []

    def wait(ready: Way) -> None:
        answers.append(ready(fd, select.POLLIN, BOUND_MS))

    threads = [threading.Thread(target=wait, args=(way,)) for way in WAYS * 4]
    for thread in threads:
        thread.start()
    for _ in range(50):  # each asks again, and none of them may be kept for ever
        by_poll(fd, select.POLLIN, 0)
    for thread in threads:
        thread.join()
    assert answers == [True] * len(threads)
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
