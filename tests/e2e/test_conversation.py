"""`call`: requests and replies on one open file."""

from __future__ import annotations

import errno
import os
import threading

import numpy as np
import pytest

from tests.conftest import SAXPY, Mount
from tests.e2e.programs import DOUBLE
from tests.e2e.requests import (
    X,
    Y,
    Z,
    npy,
)


def test_open_conversation_uses_the_new_version_for_the_next_request(mount: Mount) -> None:
    saxpy = mount.add("saxpy.mlir", SAXPY)
    fd = os.open(saxpy / "call", os.O_RDWR)
    try:
        os.write(fd, b"[1,1,1,1] [0,0,0,0]\n")
        assert os.read(fd, 100) == b"[2.0, 2.0, 2.0, 2.0]\n"
        mount.add("saxpy.mlir", DOUBLE)
        os.write(fd, b"[1,1,1,1] [0,0,0,0]\n")
        assert os.read(fd, 100) == b"[4.0, 4.0, 4.0, 4.0]\n"
    finally:
        os.close(fd)


def test_call_answers_in_the_format_it_was_asked_in(saxpy: Mount) -> None:
    script = "exec 3<>programs/saxpy/call; echo '[1,2,3,4] [10,20,30,40]' >&3; cat <&3"
    assert saxpy.sh(script).stdout == "[12.0, 24.0, 36.0, 48.0]\n"
    fd = os.open(saxpy.path / "programs/saxpy/call", os.O_RDWR)
    os.write(fd, npy(X, Y))
    assert os.read(fd, 4096) == npy(Z)
    assert os.read(fd, 4096) == b""
    os.write(fd, b"[1,2,3,4] [10,20,30,40]\n")
    assert os.read(fd, 4096) == b"[12.0, 24.0, 36.0, 48.0]\n"
    os.close(fd)


def test_raw_conversation_is_pipelined_in_order(saxpy: Mount) -> None:
    fd = os.open(saxpy.path / "programs/saxpy/call.raw", os.O_RDWR)
    requests = [np.full(4, n, np.float32) for n in range(50)]
    for x in requests:
        os.write(fd, x.tobytes() + Y.tobytes())
    replies = b""
    while part := os.read(fd, 7):
        replies += part
    os.close(fd)
    assert replies == b"".join((2 * x + Y).tobytes() for x in requests)


def test_request_may_arrive_in_any_pieces(saxpy: Mount) -> None:
    fd = os.open(saxpy.path / "programs/saxpy/call", os.O_RDWR)
    data = npy(X, Y) + npy(Y, X)
    for start in range(0, len(data), 17):
        os.write(fd, data[start : start + 17])
    replies = b""
    while part := os.read(fd, 4096):
        replies += part
    os.close(fd)
    assert replies == npy(Z) + npy(2 * Y + X)


def test_conversation_goes_on_after_a_bad_request(saxpy: Mount) -> None:
    fd = os.open(saxpy.path / "programs/saxpy/call", os.O_RDWR)
    with pytest.raises(OSError) as caught:
        os.write(fd, b"[1] [2]\n")
    assert caught.value.errno == errno.EINVAL
    os.write(fd, b"[1,2,3,4] [10,20,30,40]\n")
    assert os.read(fd, 4096) == b"[12.0, 24.0, 36.0, 48.0]\n"
    os.close(fd)


def test_opening_call_for_reading_gives_its_usage(saxpy: Mount) -> None:
    text = (saxpy.path / "programs/saxpy/call").read_text()
    assert "in 0 x f32[4]" in text
    assert (saxpy.path / "programs/saxpy/call").stat().st_size == len(text)


def test_many_clients_get_their_own_answers(saxpy: Mount) -> None:
    wrong = []

    def client(number: int) -> None:
        fd = os.open(saxpy.path / "programs/saxpy/call.raw", os.O_RDWR)
        x = np.full(4, number, np.float32)
        for _ in range(50):
            os.write(fd, x.tobytes() + Y.tobytes())
            if os.read(fd, 16) != (2 * x + Y).tobytes():
                wrong.append(number)
        os.close(fd)

    threads = [threading.Thread(target=client, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_reply_can_be_copied_to_another_file_of_the_mount(mount: Mount) -> None:
    """cat(1) copies between files of one filesystem by copy_file_range(2), as far as their size."""
    mount.add("saxpy.mlir", SAXPY)
    mount.sh(
        "exec 3<>programs/saxpy/call; echo '[1,1,1,1] [0,0,0,0]' >&3; cat <&3 > arrays/x;"
        " test $(stat -c %s programs/saxpy/call) = 0"
    )
    assert (mount.path / "arrays/x.json").read_text() == "[2.0, 2.0, 2.0, 2.0]\n"
